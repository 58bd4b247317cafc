"""Towhee operators, one class each, under the names of Towhee's hub."""
