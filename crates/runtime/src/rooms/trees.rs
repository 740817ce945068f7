//! What of the host's files is mounted in a container whose root is somebody else on the host: opened by the
//! runtime, since that user may not look for it by its path.
use std::os::fd::OwnedFd;

use crate::Result;
use crate::plan::Plan;
use crate::rooms::namespaces::Namespace;
use crate::rooms::{mounts, rootfs};
use crate::spawn::Caller;

/// Mounts that are attached nowhere yet.
#[derive(Debug, Default)]
pub struct Trees {
    /// The root file system.
    pub root: Option<OwnedFd>,
    /// The sources of the mounts, in their order, as far as they are opened here.
    pub mounts: Vec<Option<OwnedFd>>,
}

/// Opens them. An ordinary user has no right to, and is the same user in the container; a container with
/// other mounts than the host's finds its files there.
pub fn host_open(plan: &Plan) -> Result<Trees> {
    let needed = plan.namespaces.user.is_private() && plan.namespaces.mount == Namespace::New;
    if !needed || plan.caller == Caller::Ordinary {
        return Ok(Trees::default());
    }
    Ok(Trees { root: Some(rootfs::host_open(&plan.rootfs)?), mounts: mounts::host_open(&plan.mounts)? })
}
