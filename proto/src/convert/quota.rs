//! A user's view of its account's ledger on the wire.

use flotilla_model as model;

use crate::admin::v1;

/// Before its first use a root has no account: nothing is counted yet.
pub fn quota(user: &model::User, account: Option<&model::Account>, home_dir: String) -> v1::Quota {
    let used = account.map(|account| account.used.at_least_zero()).unwrap_or_default();
    let granted = account.map(|account| account.outstanding().at_least_zero()).unwrap_or_default();
    v1::Quota {
        username: user.username.to_string(),
        home_dir,
        quota_size: user.quota_size,
        quota_files: user.quota_files,
        used_size: used.bytes.unsigned_abs(),
        used_files: used.files.unsigned_abs(),
        granted_size: granted.bytes.unsigned_abs(),
        granted_files: granted.files.unsigned_abs(),
        scan_wanted: account.is_some_and(|account| account.marked),
        uncertain: account.is_some_and(|account| account.uncertain),
        scanning: account.is_some_and(|account| account.scan.is_some()),
    }
}
