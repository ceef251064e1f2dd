//! Facts about the machine: what it is, whose it is, and how busy it and its GPUs are while a trial runs.
//!
//! This room records and never judges. It has no clock: whoever samples says when.
//!
//! Parts: `facts` says what the machine is, `cloud` whose it is, `gpu` reads NVIDIA's GPUs, `host` samples the machine and
//! the engine's process group, `proc_fs` parses the few lines of `/proc` that the two need, text in and numbers out.
//!
//! Formats: the types are in `schema` (`environment.json`, `telemetry.jsonl`). Sources are `/proc`, the driver's library
//! NVML, loaded at run time, and the link-local metadata services of three clouds, 300 ms a question at most.
//!
//! Traps: a fact that is not there is absent, never 0. CPU use is a difference, so the first sample has none. A driver may
//! hold its answer back: sampling a GPU belongs on a thread of its own. The engine's process group is all that can be seen
//! of an engine; what it starts in other groups is missing from its sums.

mod cloud;
mod facts;
mod gpu;
mod host;
mod proc_fs;

pub use cloud::{CloudBases, cloud_facts};
pub use facts::host_facts;
pub use gpu::{GpuError, GpuProbe};
pub use host::HostProbe;
