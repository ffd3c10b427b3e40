"""Does an explanation change when the weights, the labels or the class do?"""
