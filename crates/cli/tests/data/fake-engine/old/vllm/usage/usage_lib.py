from fake_usage_lib import *
