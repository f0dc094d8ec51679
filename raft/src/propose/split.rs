//! How much goes into one entry: 256 commands, 1 MiB, 20,000 rows, one registration (`DESIGN.md` 3).

use flotilla_model::command::ENTRY_ROWS;
use flotilla_model::{Command, Envelope};

use super::{GROUP_BYTES, GROUP_COMMANDS, size_of};

/// What an entry holds so far. Rows are what its commands may touch at most.
pub struct EntrySize {
    commands: usize,
    bytes: usize,
    rows: u64,
    registers: bool,
}

impl EntrySize {
    /// An entry takes at least one command.
    pub fn of(first: &Envelope) -> Self {
        EntrySize { commands: 1, bytes: size_of(first), rows: first.rows_at_most(), registers: is_registration(first) }
    }

    /// Takes one more, if it fits.
    pub fn takes(&mut self, next: &Envelope) -> bool {
        let (bytes, rows) = (self.bytes + size_of(next), self.rows + next.rows_at_most());
        // An epoch is its entry's index, so an entry takes one registration.
        let second = self.registers && is_registration(next);
        if self.commands == GROUP_COMMANDS || bytes > GROUP_BYTES || rows > ENTRY_ROWS || second {
            return false;
        }
        self.commands += 1;
        (self.bytes, self.rows) = (bytes, rows);
        self.registers |= is_registration(next);
        true
    }
}

fn is_registration(envelope: &Envelope) -> bool {
    matches!(envelope.command, Command::RegisterNode(_))
}

#[cfg(test)]
mod tests {
    use flotilla_model::command::{DeleteUser, KillSession, PutToken, RegisterNode};
    use flotilla_model::{CommandId, Entry, Epoch, LogTime, NodeId, SessionId, Username, WallTime};

    use super::*;

    fn envelope(command: Command) -> Envelope {
        Envelope { id: CommandId::Unnumbered, actor: "test".into(), command }
    }

    fn small() -> Envelope {
        let session = SessionId { node: NodeId(1), epoch: Epoch(1), number: 1 };
        envelope(Command::KillSession(KillSession { session }))
    }

    fn deletion() -> Envelope {
        let username = Username::parse("user").expect("a name");
        envelope(Command::DeleteUser(DeleteUser { username, expected_revision: None }))
    }

    fn token(bytes: usize) -> Envelope {
        let permissions = vec!["x".repeat(bytes)];
        let token = PutToken { name: "t".into(), hash: [0; 32], permissions, expires_at: 0, replace: false };
        envelope(Command::PutToken(token))
    }

    /// How many of the same an entry takes, and the entry.
    fn filled(one: &Envelope) -> (usize, Entry) {
        let mut size = EntrySize::of(one);
        let mut commands = vec![one.clone()];
        while size.takes(one) {
            commands.push(one.clone());
        }
        (commands.len(), Entry { time: LogTime(0), wall: WallTime(0), commands })
    }

    #[test]
    fn an_entry_takes_as_many_commands_rows_and_bytes_as_it_may_and_no_more() {
        assert_eq!(filled(&small()).0, 256);
        let (deletions, entry) = filled(&deletion());
        assert_eq!(deletions, 10);
        assert_eq!(entry.commands.iter().map(Envelope::rows_at_most).sum::<u64>(), ENTRY_ROWS);
        let (tokens, entry) = filled(&token(100_000));
        assert_eq!(tokens, 10);
        assert!((1_000_000..GROUP_BYTES + 64).contains(&entry.encode().len()));
    }

    #[test]
    fn an_entry_takes_one_registration() {
        let register =
            RegisterNode { node: NodeId(1), store: 1, nonce: 1, start: 1, replaces: Epoch(0), version: String::new() };
        assert_eq!(filled(&envelope(Command::RegisterNode(register))).0, 1);
    }
}
