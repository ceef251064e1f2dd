from fake_platforms import *
