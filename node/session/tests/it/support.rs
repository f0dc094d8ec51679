//! A user and the patience that tests of this crate and of `node/ssh` share.

use std::sync::OnceLock;
use std::time::Duration;

use flotilla_model::{Filters, Permission, Root, Status, StorageName, UserSpec, Username};

pub const PASSWORD: &str = "correct horse";

pub fn hash() -> String {
    static HASH: OnceLock<String> = OnceLock::new();
    HASH.get_or_init(|| flotilla_auth::hash_password(PASSWORD.as_bytes()).unwrap()).clone()
}

pub fn spec(name: &str) -> UserSpec {
    UserSpec {
        status: Status::Enabled,
        expiration_date: 0,
        password_hash: Some(hash()),
        public_keys: Vec::new(),
        home: Root::new(StorageName::parse("files").unwrap(), name).unwrap(),
        uid: 0,
        gid: 0,
        max_sessions: 0,
        quota_size: 0,
        quota_files: 0,
        permissions: [("/".to_owned(), vec![Permission::Any])].into(),
        upload_bandwidth: 0,
        download_bandwidth: 0,
        filters: Filters::default(),
        email: String::new(),
        description: String::new(),
        additional_info: String::new(),
        groups: Vec::new(),
        role: None,
    }
}

pub fn name(text: &str) -> Username {
    Username::parse(text).unwrap()
}

/// Polls what no event tells of, for 15 s at most.
pub async fn eventually(what: &str, condition: impl Fn() -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(15);
    while !condition() {
        assert!(tokio::time::Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
