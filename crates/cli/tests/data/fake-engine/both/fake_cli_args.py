from argparse import BooleanOptionalAction


def make_arg_parser(parser):
    parser.add_argument("model_tag", nargs="?")
    parser.add_argument("--model")
    parser.add_argument("--api-key")
    parser.add_argument("--api-server-count", type=int)
    parser.add_argument("--max-model-len", type=int)
    parser.add_argument("--max-num-batched-tokens", type=int, default=2048)
    parser.add_argument("--kv-cache-dtype", default="auto")
    parser.add_argument("--quantization")
    parser.add_argument("--speculative-config")
    for toggle in ("--enable-chunked-prefill", "--enforce-eager", "--async-scheduling"):
        parser.add_argument(toggle, action=BooleanOptionalAction)
    return parser


def validate_parsed_serve_args(arguments):
    if not arguments.model:
        raise TypeError("no model")
