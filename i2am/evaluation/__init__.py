"""Models on a data set: samples, their maps, scores per image and per data set, in a folder that a run can go on in."""
