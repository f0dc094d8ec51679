//! P3, revocation: nothing asked after the reply is acknowledged, but on nodes that the reply names, for a lease time.

use super::Findings;

/// TTL: how long a node that did not confirm may go on, nanoseconds.
const TTL: u64 = 6_000_000_000;
/// The reply waits for confirmations at most this long; the change itself is on top, which undisturbed takes next to nothing.
const REPLY: u64 = 1_000_000_000;

/// An acknowledged revocation of a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    pub user: String,
    pub invoked: u64,
    pub returned: u64,
    pub unconfirmed: Vec<u64>,
    /// A fault was in force meanwhile, or so shortly before that its consequences may have lasted.
    pub disturbed: bool,
}

/// An operation of a session of that user that was acknowledged, or a login that was let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acknowledged {
    pub user: String,
    pub node: u64,
    pub invoked: u64,
    pub login: bool,
}

/// Judges each acknowledged operation against the revocation of its user, if there was one.
pub fn check(revocations: &[Revocation], acknowledged: &[Acknowledged], findings: &mut Findings) {
    for revocation in revocations {
        findings.checked += 1;
        let own = || acknowledged.iter().filter(|one| one.user == revocation.user);
        // Alive when it was asked for: these are the sessions that the reply is about.
        let alive = own().filter(|one| {
            !one.login && one.invoked < revocation.invoked && one.invoked + 500_000_000 > revocation.invoked
        });
        let nodes: std::collections::BTreeSet<u64> = alive.map(|one| one.node).collect();
        findings.count("sessions alive at a revocation", nodes.len() as u64);
        findings.count("nodes that did not confirm", revocation.unconfirmed.len() as u64);
        findings.count("revocations with nothing disturbed", u64::from(!revocation.disturbed));
        if !revocation.disturbed && !revocation.unconfirmed.is_empty() {
            let Revocation { user, unconfirmed, .. } = revocation;
            let text = format!("{user}: nodes {unconfirmed:?} did not confirm although nothing was disturbed");
            findings.violated("R-unconfirmed", revocation.returned, text);
        }
        let slow = revocation.returned - revocation.invoked > REPLY;
        findings.count("replies over a second", u64::from(slow));
        if slow && !revocation.disturbed {
            let took = (revocation.returned - revocation.invoked) as f64 / 1e9;
            let text = format!("{}: the reply took {took:.3} s although nothing was disturbed", revocation.user);
            findings.violated("R-slow", revocation.returned, text);
        }
        for one in own().filter(|one| one.invoked > revocation.returned) {
            let late = one.invoked - revocation.returned;
            let named = revocation.unconfirmed.contains(&one.node);
            if one.login || !named || late > TTL {
                let what = if one.login { "a login was let in" } else { "an operation was acknowledged" };
                let text = format!(
                    "{}: {what} on node {} that was asked {:.3} s after the reply, which named {:?}",
                    one.user,
                    one.node,
                    late as f64 / 1e9,
                    revocation.unconfirmed
                );
                findings.violated("R-late", one.invoked, text);
            }
        }
    }
}
