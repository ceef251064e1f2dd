# Builds the engine's configuration for several sets of flags and starts nothing. Given to the engine's own Python by
# servelab; reads one JSON object from standard input:
#   {"seconds": 120, "variants": [["--model", "m", ...], ...]}
# and answers on standard output with one JSON object a line: first {"engine": {...}}, then one for each set of flags.
# What the engine itself prints goes elsewhere. The engine is imported once; each set of flags has a fork of its own.
import json
import os
import select
import signal
import sys
import tempfile

# The folder that servelab runs in is none of the engine's.
sys.path[:] = [folder for folder in sys.path if folder]
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
request = json.load(sys.stdin)

# Values that are drawn anew each time, and what only says where something runs.
MOMENTARY = ("engine_id", "instance_id", "kv_port", "kv_ip", "data_parallel_rpc_port", "data_parallel_master_port")
# Values that nobody may read.
SECRET = ("api_key", "hf_token", "ssl_keyfile")
SECTIONS = ("scheduler", "cache", "model", "parallel", "speculative", "lora", "kv_transfer", "offload")
# Sections that are there only when they are asked for: what they leave open says nothing.
OPTIONAL = ("speculative", "lora", "kv_transfer")
COMPILATION = ("mode", "level", "cudagraph_mode")
LONGEST = 200


def say(answer):
    answers.write(json.dumps(answer) + "\n")
    answers.flush()


def text(value):
    """A value as Python prints it; None where it is no plain value."""
    if value is None or isinstance(value, (bool, int, float, str)):
        shown = str(value)
    elif hasattr(value, "name") and hasattr(value, "value"):  # a member of an enumeration
        shown = str(value.name)
    elif type(value).__name__ == "dtype":
        shown = str(value).replace("torch.", "")
    elif isinstance(value, (list, tuple, set, frozenset)) and all(isinstance(v, (bool, int, float, str)) for v in value):
        shown = str(sorted(value, key=str) if isinstance(value, (set, frozenset)) else list(value))
    elif isinstance(value, dict) and all(isinstance(v, (bool, int, float, str, type(None))) for v in value.values()):
        shown = str(value)
    elif isinstance(value, type):
        shown = value.__name__
    else:
        return None
    return shown[:LONGEST]


def fields_of(thing):
    if hasattr(thing, "__dict__") and vars(thing):
        return vars(thing).items()
    return [(name, getattr(thing, name, None)) for name in getattr(thing, "__dataclass_fields__", ())]


def flatten(prefix, thing, into, deep):
    for name, value in fields_of(thing):
        if name.startswith("_") or name in MOMENTARY or name in SECRET:
            continue
        shown = text(value)
        if shown is None and hasattr(value, "__dataclass_fields__") and prefix not in OPTIONAL:
            if deep:
                flatten(prefix + "." + name, value, into, False)
                continue
            shown = type(value).__name__
        if shown is not None and not (prefix in OPTIONAL and value in (None, False)):
            into[prefix + "." + name] = shown


def effective(config, arguments, engine_arguments):
    fields = {}
    for section in SECTIONS:
        thing = getattr(config, section + "_config", None)
        if thing is not None:
            flatten(section, thing, fields, section == "offload")
    compilation = getattr(config, "compilation_config", None)
    for name in COMPILATION:
        shown = text(getattr(compilation, name, None))
        if shown is not None and hasattr(compilation, name):
            fields["compilation." + name] = shown
    # What the engine's configuration never sees: the flags of its front end.
    for name, value in vars(arguments).items():
        if not hasattr(engine_arguments, name) and name != "model_tag" and name not in SECRET:
            shown = text(value)
            if shown is not None:
                fields["frontend." + name] = shown
    return fields


def cause(error):
    """The first cause of an error in its own words, on one line."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    # A validation error: its first line only counts, the second names the field, the third says what is wrong.
    said = [line for line in lines if line.startswith(("Value error, ", "Assertion failed, "))] or lines[:3]
    words = " ".join(said).split(" [type=")[0].replace("Value error, ", "")
    return (type(error).__name__ + ": " + words) if words else type(error).__name__


def build(words):
    parser = make_arg_parser(FlexibleArgumentParser(prog="vllm serve"))
    arguments = parser.parse_args(words)
    if getattr(arguments, "model_tag", None):
        arguments.model = arguments.model_tag
    validate_parsed_serve_args(arguments)
    engine_arguments = AsyncEngineArgs.from_cli_args(arguments)
    config = engine_arguments.create_engine_config(usage_context=UsageContext.OPENAI_API_SERVER)
    return effective(config, arguments, engine_arguments)


def in_a_fork(words, log):
    """Runs in the child: everything printed goes to the log."""
    os.dup2(log, 1)
    os.dup2(log, 2)
    try:
        return {"accepted": build(words)}
    except SystemExit as end:
        sys.stderr.flush()
        return {"exit": end.code if isinstance(end.code, int) else 1}
    except BaseException as error:
        return {"refused": cause(error)}


def remarks(printed):
    """Warnings, and what the parser of the command line said last."""
    warnings, complaint = [], None
    for line in printed.splitlines():
        if ": error: " in line:
            complaint = line.split(": error: ", 1)[1].strip()
        if "WARNING " in line:
            words = line.split("] ", 1)[-1] if "] " in line else line
            words = words.strip()[:400]
            if words not in warnings:
                warnings.append(words)
    return warnings, complaint


def ask(words):
    read, write = os.pipe()
    with tempfile.TemporaryFile() as log:
        answers.flush()
        child = os.fork()
        if child == 0:
            os.close(read)
            answer = in_a_fork(words, log.fileno())
            sys.stdout.flush()
            sys.stderr.flush()
            with os.fdopen(write, "w") as pipe:
                json.dump(answer, pipe)
            os._exit(0)
        os.close(write)
        said = b""
        while True:
            ready, _, _ = select.select([read], [], [], request["seconds"])
            part = os.read(read, 65536) if ready else b""
            if not part:
                break
            said += part
        os.close(read)
        if not ready:
            os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        log.seek(0)
        printed = log.read().decode(errors="replace")
    warnings, complaint = remarks(printed)
    if not ready:
        answer = {"refused": "no answer within %s s" % request["seconds"]}
    elif not said:
        last = [line.strip() for line in printed.splitlines() if line.strip()][-1:]
        answer = {"refused": "it died: " + "".join(last)}
    else:
        answer = json.loads(said)
    if "exit" in answer:
        answer = {"refused": complaint or "it ended with exit code %s" % answer["exit"]}
    answer["warnings"] = warnings
    return answer


try:
    import vllm
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.platforms import current_platform
    from vllm.usage.usage_lib import UsageContext

    try:
        from vllm.utils.argparse_utils import FlexibleArgumentParser
    except ImportError:
        from vllm.utils import FlexibleArgumentParser
    try:
        from vllm.entrypoints.openai.cli_args import make_arg_parser, validate_parsed_serve_args
    except ImportError:
        from vllm.entrypoints.launchers.cli_args import make_arg_parser, validate_parsed_serve_args
except BaseException as error:
    say({"cannot": cause(error)})
    sys.exit(1)

try:
    # Newer versions look at each model in a process of its own, which takes longer than all the rest.
    from vllm.model_executor.models import registry

    if hasattr(registry, "_run_in_subprocess"):
        registry._run_in_subprocess = lambda look: look()
except BaseException:
    pass

say({"engine": {"version": str(vllm.__version__), "platform": str(getattr(current_platform, "device_type", "") or "unknown")}})
for words in request["variants"]:
    say(ask(words))
