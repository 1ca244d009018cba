"""The phantom: simulated contrast-enhanced T1 slices, drawn around a real brain template.

Millimetres, right-anterior-superior, throughout; *reference* coordinates are those of the MNI152 template.
"""
