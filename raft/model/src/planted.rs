//! Bugs planted on purpose, for the fault tests to find. Only in builds with the feature `planted-bugs`, which nothing enables
//! by default; each is off until its name is planted. A build without debug assertions, which a release is, does not compile
//! with the feature.

#[cfg(not(debug_assertions))]
compile_error!("planted-bugs is for debug builds only (`make mutants`): a release must not hold planted bugs");

use std::sync::OnceLock;

static PLANTED: OnceLock<String> = OnceLock::new();

/// The names that can be planted, each at its place in the code.
pub const NAMES: [&str; 20] = [
    // A read, and a refusal, is answered from what this node knows.
    "stale-read",
    // A repeated request id is taken again.
    "double-apply",
    // A lease that has run out is noticed by the task that takes the next one only, not where an operation is acknowledged.
    "lease-timer-only",
    // One close in eight leaves its slot taken.
    "slot-leak",
    // A removed file is credited twice.
    "quota-refund",
    // The lease is looked at when a request is begun, not before its system calls.
    "check-at-dispatch",
    // A removed file is credited, and its removal acknowledged, before its folder is synced.
    "credit-before-sync",
    // A cut is confirmed and does not end the session.
    "no-revoke",
    // A wrong credential is refused on the local state, without a read barrier.
    "refusal-without-barrier",
    // A stream of events that is resumed by its token begins with the event that the token is of.
    "feed-duplicate",
    // An upload has its name from its first write on.
    "publish-at-first-write",
    // A close that comes before its open is forgotten.
    "close-before-open",
    // The cuts that a snapshot brings end no session.
    "snapshot-cuts-nobody",
    // Votes and entries are acknowledged before they are on the disk.
    "no-sync",
    // A vote is not written: a restart forgets it.
    "vote-not-written",
    // A renewal extends the lease from when it was applied, not from when it was sent.
    "extension-from-apply",
    // A command is answered when the leader has applied it, not yet this node.
    "answer-before-apply",
    // A restarted leader goes on leading without an election.
    "leader-restored",
    // The leader lets reads through on its own lease, without a round.
    "lease-read",
    // Reads that come while a round is under way are answered by it.
    "round-shared-late",
];

/// Plants one bug, once per process. False if there is none of that name.
pub fn plant(name: &str) -> bool {
    NAMES.contains(&name) && PLANTED.set(name.to_owned()).is_ok()
}

/// Whether this bug is planted.
pub fn is(name: &str) -> bool {
    PLANTED.get().is_some_and(|planted| planted == name)
}
