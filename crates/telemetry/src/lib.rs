//! Facts about the machine: what it is, and how busy it is while a trial runs. Read from `/proc`; a fact that is not
//! there is absent, never 0. This room has no clock: whoever samples says when.

mod facts;
mod host;
mod proc_fs;

pub use facts::host_facts;
pub use host::HostProbe;
