"""The referee: does a measured run obey the theorem that an algorithm claims?"""
