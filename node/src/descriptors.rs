//! The limit of open files: as high as this process may set it, and a warning where that is too low.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// A connection has its socket, one root descriptor, and now and then an open file; the node itself has some.
const PER_CONNECTION: u64 = 3;
const OWN: u64 = 256;

/// Raises the soft limit to the hard one.
pub fn raise(connections: u64) {
    let limit = getrlimit(Resource::Nofile);
    let wanted = connections.saturating_mul(PER_CONNECTION).saturating_add(OWN);
    let raised = limit.maximum.map_or(wanted, |maximum| maximum.min(wanted));
    if limit.current.is_some_and(|current| current < raised)
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: Some(raised), ..limit })
    {
        tracing::warn!(sender = "node", %error, "the limit of open files cannot be raised");
    }
    let now = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    if now < wanted {
        tracing::warn!(
            sender = "node",
            limit = now,
            wanted,
            "fewer open files than sftp.max_connections needs: raise LimitNOFILE, or lower it"
        );
    }
}
