//! The bytes of entries as they stand in logs, and the hashes of the states that they lead to: a change of format or of what apply
//! does is noticed here, and needs a version and a `migrate`.
//!
//! `FLOTILLA_WRITE_GOLDEN=1` writes the files anew.

mod accounts;
mod hashes;

use std::fmt::Write as _;
use std::path::Path;

use flotilla_model::command::*;
use flotilla_model::*;

use crate::world::*;

fn samples() -> Vec<(&'static str, Command)> {
    let mut samples = samples_of_users_and_nodes();
    samples.extend(accounts::samples());
    samples
}

fn samples_of_users_and_nodes() -> Vec<(&'static str, Command)> {
    let session = SessionId { node: NodeId(1), epoch: Epoch(5), number: 7 };
    let patch = UserPatch { max_sessions: Some(2), password_hash: Some(None), ..UserPatch::default() };
    let renewals = vec![(NodeId(1), Epoch(5), 3), (NodeId(2), Epoch(6), 1)];
    let username = || name("demo");
    let text = |text: &str| text.to_owned();
    vec![
        ("init_cluster", Command::InitCluster(InitCluster { cluster_id: text("c") })),
        ("put_node", Command::PutNode(put_node(1))),
        (
            "register_node",
            Command::RegisterNode(RegisterNode {
                store: 1,
                nonce: 1,
                node: NodeId(1),
                start: 2,
                replaces: Epoch(3),
                version: text("v"),
            }),
        ),
        ("renew", Command::Renew(Renew { term: 4, leader_clock_ms: 5, renewals })),
        ("expire", Command::Expire(Expire { node: NodeId(1), epoch: Epoch(5), last_renewal: 3 })),
        ("create_user", Command::CreateUser(CreateUser { username: username(), spec: spec("demo") })),
        ("update_user", Command::UpdateUser(UpdateUser { username: username(), expected_revision: Some(9), patch })),
        (
            "replace_user",
            Command::ReplaceUser(ReplaceUser {
                username: username(),
                expected_revision: None,
                spec: spec("demo"),
                keep_password: true,
            }),
        ),
        ("delete_user", Command::DeleteUser(DeleteUser { username: username(), expected_revision: None })),
        (
            "open_session",
            Command::OpenSession(OpenSession {
                username: username(),
                incarnation: 8,
                credential_revision: 9,
                remote: text("192.0.2.1:1"),
                protocol: text("SFTP"),
                method: text("password"),
                ahead: Amount::new(1 << 20, 64),
            }),
        ),
        ("add_slot", Command::AddSlot(AddSlot { session })),
        ("close_session", close_command(session)),
        ("kill_session", Command::KillSession(KillSession { session })),
        (
            "put_secret",
            Command::PutSecret(PutSecret { name: text("s"), expected_revision: Some(0), sealed: vec![1, 2] }),
        ),
        (
            "put_token",
            Command::PutToken(PutToken {
                name: text("t"),
                hash: [9; 32],
                permissions: vec![text("*")],
                expires_at: 1,
                replace: false,
            }),
        ),
        ("delete_token", Command::DeleteToken(DeleteToken { name: text("t"), expected_revision: Some(7) })),
        (
            "adopt_storage",
            Command::AdoptStorage(AdoptStorage { name: storage(), storage_id: text("i"), node: NodeId(1) }),
        ),
        ("make_join_token", Command::MakeJoinToken(MakeJoinToken { hash: [3; 32], life_ms: 4 })),
        ("admit_node", Command::AdmitNode(admit_node([3; 32], 2))),
        ("remove_node", Command::RemoveNode(RemoveNode { node: NodeId(2), lost: true })),
        (
            "change_of_role",
            Command::ChangeOfRole(ChangeOfRole {
                role: kept("r"),
                change: UserChange::Delete(DeleteUser { username: username(), expected_revision: Some(2) }),
            }),
        ),
        ("note", Command::Note(Note::NodeDrains { node: NodeId(3) })),
        ("reseal_secrets", Command::ResealSecrets(ResealSecrets { secrets: vec![(text("s"), 4, vec![1])] })),
        ("marker_written", Command::MarkerWritten(MarkerWritten { name: storage(), storage_id: text("i") })),
        ("put_admin", Command::PutAdmin(Put { name: kept("a"), expected: Expected::Absent, spec: admin_spec() })),
        ("delete_admin", Command::DeleteAdmin(Delete { name: kept("a"), expected_revision: Some(7) })),
        (
            "put_group",
            Command::PutGroup(Put { name: kept("g"), expected: Expected::Present, spec: group_spec(&["f"]) }),
        ),
        ("delete_group", Command::DeleteGroup(Delete { name: kept("g"), expected_revision: None })),
        (
            "put_folder",
            Command::PutFolder(Put { name: kept("f"), expected: Expected::Revision(3), spec: folder_spec("/srv/f") }),
        ),
        ("delete_folder", Command::DeleteFolder(Delete { name: kept("f"), expected_revision: None })),
        ("put_role", Command::PutRole(Put { name: kept("r"), expected: Expected::Absent, spec: RoleSpec::default() })),
        ("delete_role", Command::DeleteRole(Delete { name: kept("r"), expected_revision: None })),
        (
            "issue_token",
            Command::IssueToken(IssueToken { admin: kept("a"), revision: 5, hash: [8; 32], expires_at: 6 }),
        ),
        (
            "put_api_key",
            Command::PutApiKey(PutApiKey {
                id: kept("k"),
                expected: Expected::Absent,
                hash: Some([7; 32]),
                label: text("l"),
                description: text("d"),
                admin: Some(kept("a")),
                expires_at: 0,
            }),
        ),
    ]
}

fn entry(command: Command) -> Entry {
    let id = match &command {
        Command::OpenSession(_) => {
            CommandId::Node { node: NodeId(1), epoch: Epoch(5), number: 300, answered_below: 299 }
        }
        Command::CreateUser(_) => CommandId::Request(RequestId(1 << 100)),
        _ => CommandId::Unnumbered,
    };
    let commands = vec![Envelope { id, actor: "golden".into(), command }];
    Entry { time: LogTime(1_000), wall: WallTime(1_700_000_000_000), commands }
}

#[test]
fn encoded_entries_are_those_of_the_first_version() {
    let mut now = String::new();
    for (verb, command) in samples() {
        let bytes = entry(command).encode();
        let hex = bytes.iter().fold(String::new(), |mut hex, byte| {
            write!(hex, "{byte:02x}").unwrap();
            hex
        });
        writeln!(now, "{verb} {hex}").unwrap();
    }
    hold_against_golden("entries_v1.txt", &now, "the bytes of stored entries have changed");
}

/// Compares line by line with a checked-in file, or writes it when asked to.
fn hold_against_golden(file: &str, now: &str, changed: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/golden").join(file);
    if std::env::var_os("FLOTILLA_WRITE_GOLDEN").is_some() {
        std::fs::write(&path, now).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap();
    for (was, is) in golden.lines().zip(now.lines()) {
        assert_eq!(was, is, "{changed}");
    }
    assert_eq!(golden.lines().count(), now.lines().count(), "{changed}");
}

#[test]
fn every_sample_is_read_back_as_it_was() {
    for (_, command) in samples() {
        let entry = entry(command);
        assert_eq!(Entry::decode(&entry.encode()).unwrap(), entry);
    }
}

#[test]
fn entries_of_a_newer_version_or_damaged_are_refused() {
    let error = Entry::decode(&[2, 0, 0]).unwrap_err();
    assert!(error.to_string().contains("newer program"), "{error}");
    assert!(Entry::decode(&[]).is_err());
    assert!(Entry::decode(&[1, 0xff]).is_err());
}
