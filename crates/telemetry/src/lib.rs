//! Facts about the machine: what it is, whose it is, and how busy it and its GPUs are while a trial runs. Read from
//! `/proc`, NVML and the cloud's metadata service; a fact that is not there is absent, never 0. This room has no clock:
//! whoever samples says when.

mod cloud;
mod facts;
mod gpu;
mod host;
mod proc_fs;

pub use cloud::{CloudBases, cloud_facts};
pub use facts::host_facts;
pub use gpu::{GpuError, GpuProbe};
pub use host::HostProbe;
