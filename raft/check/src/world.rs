//! The cluster that models of sessions and quota begin with: registered nodes and one user.

use std::collections::BTreeMap;

use flotilla_model::command::{AccountCommand, CreateUser, Inspected};
use flotilla_model::{
    AccountId, Amount, Command, Envelope, Filters, Permission, Root, Status, StorageName, UserSpec, Username,
};

use crate::logs::{Symbol, cluster, register, unnumbered};
use crate::quota::E;

pub const USER: &str = "demo";
/// The entry that makes the user, with two nodes: its incarnation and the id of its account.
pub const USER_AT: u64 = 4;
/// The first node's epoch; the second's follows.
pub const FIRST_EPOCH: u64 = USER_AT + 2;

/// `nodes` nodes of which the first two are registered, and a user with limits (0: none) in whose home so much was found.
pub fn with_user(nodes: u64, max_sessions: u32, quota_size: u64, found: Amount) -> Vec<Envelope> {
    let home = Root::new(StorageName::parse("files").expect("a name"), "home").expect("a root");
    let spec = UserSpec {
        status: Status::Enabled,
        expiration_date: 0,
        password_hash: Some("$argon2id$1".into()),
        public_keys: Vec::new(),
        home,
        uid: 0,
        gid: 0,
        max_sessions,
        quota_size,
        quota_files: 0,
        permissions: BTreeMap::from([("/".into(), vec![Permission::Any])]),
        upload_bandwidth: 0,
        download_bandwidth: 0,
        filters: Filters::default(),
        email: String::new(),
        description: String::new(),
        additional_info: String::new(),
        groups: Vec::new(),
        role: None,
    };
    assert_eq!(nodes, 2, "the user's entry stands behind those of two nodes");
    let username = Username::parse(USER).expect("a name");
    let account = AccountId(USER_AT);
    let inspected = Inspected { account, found, uncounted: false };
    let mut all = cluster(nodes);
    all.push(unnumbered(Command::CreateUser(CreateUser { username, spec })));
    all.push(unnumbered(Command::Account(AccountCommand::Inspected(inspected))));
    all.extend((1..=nodes).map(|node| unnumbered(register(node, 1, 0))));
    all
}

/// Opens a session of the user on each of the two nodes. They were registered by the last two entries of `with_user`.
pub fn opened(ahead: i64) -> Vec<Envelope> {
    [(1, FIRST_EPOCH), (2, FIRST_EPOCH + 1)].map(|(node, epoch)| E::Open { node, epoch, ahead }.envelope()).to_vec()
}
