//! What clients were told, against what was applied.

use std::collections::BTreeMap;

use flotilla_model::{
    Command, CommandId, Done, Envelope, Epoch, LogIndex, NodeId, Refusal, Reply, SessionId, Username,
};

use super::{Inner, Oracle};

/// A repeated command may be answered that its reply is not kept any more.
fn forgotten(reply: &Reply) -> bool {
    matches!(
        reply,
        Err(Refusal::RequestExpired
            | Refusal::NumberForgotten { .. }
            | Refusal::StaleEpoch { .. }
            | Refusal::NumberTooFar { .. }
            | Refusal::RequestFromFuture)
    )
}

impl Inner {
    /// A command stands in an entry. Taken once: a repeat answers the same.
    pub(super) fn taken(&mut self, index: LogIndex, envelope: &Envelope, reply: &Reply) {
        let key = once(envelope.id);
        let Some(key) = key else { return };
        if self.never.contains(&key) {
            self.fail(format!("entry {index} holds {key:?}, of which its client was told that it never would"));
        }
        match self.answers.get(&key).cloned() {
            // A close whose epoch is over answers that nothing is left to do.
            Some((first, answer)) if answer != *reply => {
                let closes = matches!(envelope.command, Command::CloseSession(_));
                let closed = closes && answer.is_ok() && *reply == Ok(Done::Nothing);
                self.check(forgotten(reply) || closed, || {
                    format!("{key:?} answered {answer:?} at {first} and {reply:?} at {index}")
                });
            }
            Some(_) => self.counts.repeated += 1,
            None if forgotten(reply) => {}
            None => {
                self.answers.insert(key, (index, reply.clone()));
            }
        }
    }
}

/// The id without what a repeat may say differently.
fn once(id: CommandId) -> Option<CommandId> {
    match id {
        CommandId::Unnumbered => None,
        CommandId::Node { node, epoch, number, .. } => Some(CommandId::Node { node, epoch, number, answered_below: 0 }),
        CommandId::Request(_) => Some(id),
    }
}

impl Oracle {
    /// A client was answered.
    pub fn acknowledged(&self, node: u64, id: CommandId, index: LogIndex, reply: &Reply) {
        let inner = &mut *self.inner();
        inner.counts.acknowledged += 1;
        inner.acknowledged = inner.acknowledged.max(index);
        inner.note(|| format!("node {node} answers {index}: {}", if reply.is_ok() { "done" } else { "refused" }));
        let Some(key) = once(id) else { return };
        let found = inner.rows.get(&index).map(|row| {
            row.replies.iter().filter(|(there, _)| once(*there) == Some(key)).any(|(_, there)| there == reply)
        });
        match found {
            None => inner.fail(format!("node {node} answered {key:?} at {index}, which nobody has applied")),
            Some(false) => {
                inner.fail(format!("node {node} answered {key:?} with {reply:?}, which entry {index} did not"))
            }
            Some(true) => {}
        }
        let at = inner.applied.get(&node).copied().unwrap_or(0);
        inner.check(at >= index, || format!("node {node} answered {index} before it applied it, at {at}"));
    }

    /// A client was told that nothing happened and nothing will.
    pub fn never(&self, id: CommandId) {
        let inner = &mut *self.inner();
        inner.counts.definite += 1;
        inner.note(|| "definite failure".to_owned());
        let Some(key) = once(id) else { return };
        if let Some((index, _)) = inner.answers.get(&key) {
            let index = *index;
            inner.fail(format!("a client was told that {key:?} never happened, it stands at {index}"));
        }
        inner.never.insert(key);
    }

    pub fn unknown(&self) {
        let inner = &mut *self.inner();
        inner.counts.unknown += 1;
        inner.note(|| "unknown outcome".to_owned());
    }

    /// What a read that begins now must have seen.
    pub fn read_begins(&self) -> LogIndex {
        self.inner().acknowledged
    }

    pub fn read_done(&self, node: u64, floor: LogIndex, index: LogIndex, applied: LogIndex) {
        let inner = &mut *self.inner();
        inner.counts.barriers += 1;
        inner.note(|| format!("node {node} read at {index}"));
        inner.check(index >= floor, || {
            format!("a read at node {node} was let through at {index}, {floor} had been answered before it began")
        });
        inner.check(applied >= index, || format!("node {node} answers a read at {index} having applied {applied}"));
    }

    /// Who says that it leads, in which term.
    pub fn leads(&self, node: u64, term: u64) {
        let inner = &mut *self.inner();
        match inner.leaders.get(&term).copied() {
            None => {
                inner.leaders.insert(term, node);
                inner.counts.leaders += 1;
                inner.note(|| format!("node {node} leads term {term}"));
            }
            Some(other) => inner.check(other == node, || format!("nodes {other} and {node} both lead term {term}")),
        }
    }

    /// The last term that had a leader.
    pub fn last_term(&self) -> u64 {
        self.inner().leaders.last_key_value().map_or(0, |(term, _)| *term)
    }

    pub fn session_opened(&self) {
        self.inner().counts.opened += 1;
    }

    /// A close was answered: the session must be gone.
    pub fn session_closed(&self, session: SessionId, still_there: bool) {
        self.inner().check(!still_there, || format!("session {session} was closed and is still there"));
    }

    /// Sessions that may be served right now, per user and creation, with the limit.
    pub fn serving(&self, users: &BTreeMap<(Username, LogIndex), (u32, Vec<SessionId>)>) {
        let inner = &mut *self.inner();
        for ((name, _), (limit, sessions)) in users {
            let count = sessions.len();
            inner.check(*limit == 0 || count <= *limit as usize, || {
                let sessions: Vec<String> = sessions.iter().map(ToString::to_string).collect();
                format!("{name} may have {limit} sessions, {count} are served: {}", sessions.join(" "))
            });
        }
    }
}

impl Oracle {
    /// A node's lease is alive by its own clocks: nobody may have ended its epoch.
    pub fn lease_lives(&self, node: u64, epoch: Epoch) {
        let inner = &mut *self.inner();
        let Some((index, state)) = inner.states.last_key_value() else { return };
        let (index, alive) = (*index, state.epoch_alive(NodeId(node), epoch));
        inner
            .check(alive, || format!("node {node} holds a lease on epoch {epoch}, which the log has ended by {index}"));
    }
}
