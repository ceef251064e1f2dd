from fake_cli_args import *
