//! A user's view of its account's ledger on the wire.

use flotilla_model as model;

use crate::admin::v1;

/// Before its first use a root has no account: nothing is counted yet.
pub fn quota(state: &model::State, user: &model::User, home_dir: String) -> v1::Quota {
    let limits = v1::Quota {
        username: user.username.to_string(),
        home_dir,
        quota_size: user.quota_size,
        quota_files: user.quota_files,
        ..v1::Quota::default()
    };
    match state.account(user.account) {
        Some(account) => with_ledger(state, account, limits),
        None => limits,
    }
}

fn with_ledger(state: &model::State, account: &model::Account, limits: v1::Quota) -> v1::Quota {
    let used = account.used.at_least_zero();
    let granted = account.outstanding().at_least_zero();
    let wanted = state.wants_scan(account);
    v1::Quota {
        used_size: used.bytes.unsigned_abs(),
        used_files: used.files.unsigned_abs(),
        granted_size: granted.bytes.unsigned_abs(),
        granted_files: granted.files.unsigned_abs(),
        scan_wanted: wanted,
        uncertain: state.account_is_uncertain(account),
        scanning: account.scan.is_some(),
        scan_wanted_at: if account.marked { account.marked_wall.0 } else { 0 },
        scan_started_at: account.scan.as_ref().map_or(0, |scan| scan.begun_wall.0),
        scan_waits_for: if wanted { waits_for(state, account) } else { String::new() },
        scan_forced: account.forced,
        last_scan_index: account.scan_committed,
        ..limits
    }
}

/// What a scan that is wanted waits for; empty: for nothing.
fn waits_for(state: &model::State, account: &model::Account) -> String {
    let obstacle = match state.scan_obstacle(account, account.forced) {
        Some(model::reply::AccountRefusal::InUse) if state.scan_is_pressing(account) => None,
        obstacle => obstacle.map(|obstacle| obstacle.to_string()),
    };
    let given_up = account.scan_given_up.as_ref().map(|reason| format!("the last scan was given up: {reason}"));
    let parts: Vec<String> = given_up.into_iter().chain(obstacle).collect();
    parts.join("; ")
}
