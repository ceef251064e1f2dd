//! A stand-in for the NVIDIA driver's library, `libnvidia-ml.so.1`, whose values follow a script. For tests only: nothing
//! that is measured ever comes from here, and no room depends on it outside its tests.
//!
//! It reads two files beside itself at every call: `gpu.now` holds the time in milliseconds, and `gpu.script` what is true
//! when. A line `gpu` begins a GPU; a line `MS key=value …` says what holds from that time on; a `-` takes it back. What
//! the script does not say is "not supported". Values are in NVML's own units; underscores in names become spaces. `energy` is
//! a counter that rises with `power` by itself. A line `init CODE` lets the library refuse to start. A GPU that
//! says `hang=1` answers nothing for ever: every call about it parks its thread.

mod abi;
mod script;
