"""Inverse ballistics: from where, and how, was a ball thrown that lands at a given point?"""
