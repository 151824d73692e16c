"""Inverse kinematics: which poses of a jointed arm reach a given point?"""
