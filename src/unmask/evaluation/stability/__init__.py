"""How far does an explanation move when the input hardly does?"""
