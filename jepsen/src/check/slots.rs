//! P1, sessions within the limit: certain intervals never exceed it, refusals are explained by possible ones.

use super::{Findings, JUDGED_AT_REST};

/// A session as its client saw it, in nanoseconds since the run began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    pub name: String,
    /// When the login was asked for.
    pub asked: u64,
    /// When the first operation was answered; `None` if no operation ever was.
    pub served: Option<u64>,
    /// When the last operation that was answered had been asked. A session that is dead serves never again, so one that
    /// served at both ends was alive between.
    pub last_asked: u64,
    /// The latest time at which it holds its slot if nothing was lost and nothing disturbed it.
    pub left_by: u64,
    /// The latest time at which it may still hold its slot.
    pub gone_by: u64,
}

impl Session {
    /// Certainly able to obtain an acknowledged operation: from its first answer to the asking of its last answered one.
    fn certain(&self) -> Option<(u64, u64)> {
        self.served.map(|from| (from, self.last_asked)).filter(|(from, to)| from < to)
    }
}

/// A value of the user's limit and when it may have been in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    pub max_sessions: u64,
    /// When the command that set it was asked.
    pub from: u64,
    /// When the next one's reply bound every node; `u64::MAX` for the last.
    pub until: u64,
}

/// A login that was refused because the limit was reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub asked: u64,
    pub answered: u64,
    /// After the last fault, when all nodes were ready again.
    pub at_rest: bool,
}

/// The changes of a count over time, summed up from intervals; at equal times ends come first.
fn sweep(intervals: impl Iterator<Item = (u64, u64)>) -> Vec<(u64, i64)> {
    let mut changes: Vec<(u64, i64)> = intervals.flat_map(|(from, to)| [(from, 1), (to, -1)]).collect();
    changes.sort_unstable();
    changes
}

/// S-safe: at no instant more certain sessions than the highest limit that may have been in force.
pub fn safe(user: &str, sessions: &[Session], limits: &[Limit], findings: &mut Findings) {
    findings.checked += sessions.len() as u64;
    let mut now = 0;
    for (at, change) in sweep(sessions.iter().filter_map(Session::certain)) {
        now += change;
        let highest =
            limits.iter().filter(|limit| limit.from <= at && at <= limit.until).map(|limit| limit.max_sessions);
        let Some(highest) = highest.max() else {
            findings.unknown.push(format!("{user}: no limit is known at {at}"));
            return;
        };
        if change > 0 && highest != 0 && now > highest as i64 {
            let who: Vec<&str> = sessions
                .iter()
                .filter(|session| session.certain().is_some_and(|(from, to)| from <= at && at < to))
                .map(|session| session.name.as_str())
                .collect();
            findings.violated("S-safe", at, format!("{user}: {now} sessions served at once, limit {highest}: {who:?}"));
        }
        findings.count("limit reached", u64::from(change > 0 && highest != 0 && now == highest as i64));
    }
}

/// S-spurious: a refusal needs an instant within it at which sessions may have filled the lowest limit in force. Counts those which no
/// session excuses that had left already: only these are judged to the full.
pub fn spurious(user: &str, refusals: &[Refusal], sessions: &[Session], limits: &[Limit], findings: &mut Findings) {
    findings.count("refusals", refusals.len() as u64);
    let changes = sweep(sessions.iter().map(|session| (session.asked, session.gone_by)));
    for refusal in refusals {
        let left = |one: &Session| one.left_by < one.gone_by && one.left_by < refusal.answered;
        let excused = sessions.iter().any(|one| left(one) && refusal.asked <= one.gone_by);
        findings.count("refusals judged", u64::from(!excused));
        findings.count(JUDGED_AT_REST, u64::from(!excused && refusal.at_rest));
        let within = |limit: &&Limit| limit.from <= refusal.answered && refusal.asked <= limit.until;
        let lowest = limits.iter().filter(within).map(|limit| limit.max_sessions).min();
        let (mut now, mut most) = (0i64, 0i64);
        for (at, change) in &changes {
            if *at > refusal.answered {
                break;
            }
            if *at >= refusal.asked {
                most = most.max(now);
            }
            now += change;
        }
        most = most.max(now);
        if let Some(lowest) = lowest
            && most < lowest as i64
        {
            let text = format!("{user}: refused although at most {most} of {lowest} slots can have been taken");
            findings.violated("S-spurious", refusal.asked, text);
        }
    }
}
