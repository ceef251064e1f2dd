from fake_arg_utils import *
