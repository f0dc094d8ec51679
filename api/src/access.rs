//! Who may do what: the one table of verbs, their permissions, and the gRPC calls and REST routes that are those verbs.
//!
//! What is not in the table is refused, so a new call or route without an entry cannot be reached.

/// What a caller can ask of the service layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    CreateUser,
    GetUser,
    ListUsers,
    UpdateUser,
    DeleteUser,
    ListSessions,
    KillSession,
    GetQuota,
    ScanQuota,
    ListScans,
    GetStatus,
    CreateToken,
    ListTokens,
    DeleteToken,
    SaveBackup,
    /// Version, ping, reflection: any valid token.
    Look,
}

impl Verb {
    /// SFTPGo's name of the admin permission that it needs; `*` only those who may do everything hold. `None`: any valid token.
    pub fn permission(self) -> Option<&'static str> {
        match self {
            Verb::CreateUser => Some("add_users"),
            Verb::GetUser | Verb::ListUsers | Verb::GetQuota => Some("view_users"),
            Verb::UpdateUser => Some("edit_users"),
            Verb::DeleteUser => Some("del_users"),
            Verb::ListSessions => Some("view_conns"),
            Verb::KillSession => Some("close_conns"),
            Verb::ScanQuota | Verb::ListScans => Some("quota_scans"),
            Verb::GetStatus => Some("view_status"),
            Verb::CreateToken | Verb::ListTokens | Verb::DeleteToken | Verb::SaveBackup => Some("*"),
            Verb::Look => None,
        }
    }

    /// An operator needs it most while there is no quorum: the token is then judged by what this node knows.
    pub fn answers_without_quorum(self) -> bool {
        matches!(self, Verb::GetStatus)
    }
}

/// The admin permissions that a token can hold (SFTPGo's names); those without a verb yet are kept for imports.
pub const PERMISSIONS: [&str; 15] = [
    "*",
    "add_users",
    "edit_users",
    "del_users",
    "view_users",
    "view_conns",
    "close_conns",
    "view_status",
    "manage_folders",
    "manage_groups",
    "quota_scans",
    "manage_defender",
    "view_defender",
    "view_events",
    "disable_mfa",
];

/// gRPC calls by path.
pub const CALLS: &[(&str, Verb)] = &[
    ("/flotilla.admin.v1.Users/CreateUser", Verb::CreateUser),
    ("/flotilla.admin.v1.Users/GetUser", Verb::GetUser),
    ("/flotilla.admin.v1.Users/ListUsers", Verb::ListUsers),
    ("/flotilla.admin.v1.Users/UpdateUser", Verb::UpdateUser),
    ("/flotilla.admin.v1.Users/DeleteUser", Verb::DeleteUser),
    ("/flotilla.admin.v1.Sessions/ListSessions", Verb::ListSessions),
    ("/flotilla.admin.v1.Sessions/KillSession", Verb::KillSession),
    ("/flotilla.admin.v1.Quotas/GetQuota", Verb::GetQuota),
    ("/flotilla.admin.v1.Quotas/ScanQuota", Verb::ScanQuota),
    ("/flotilla.admin.v1.Quotas/ListScans", Verb::ListScans),
    ("/flotilla.admin.v1.Cluster/GetStatus", Verb::GetStatus),
    ("/flotilla.admin.v1.Cluster/Ping", Verb::Look),
    ("/flotilla.admin.v1.Tokens/CreateToken", Verb::CreateToken),
    ("/flotilla.admin.v1.Tokens/ListTokens", Verb::ListTokens),
    ("/flotilla.admin.v1.Tokens/DeleteToken", Verb::DeleteToken),
    ("/flotilla.admin.v1.Backups/SaveBackup", Verb::SaveBackup),
    ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", Verb::Look),
    ("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", Verb::Look),
];

/// REST routes by method and path under `/api/v2`.
pub const ROUTES: &[(&str, &str, Verb)] = &[
    ("GET", "/version", Verb::Look),
    ("GET", "/token", Verb::Look),
    ("GET", "/status", Verb::GetStatus),
    ("GET", "/cluster", Verb::GetStatus),
    ("GET", "/users", Verb::ListUsers),
    ("POST", "/users", Verb::CreateUser),
    ("GET", "/users/{username}", Verb::GetUser),
    ("PUT", "/users/{username}", Verb::UpdateUser),
    ("DELETE", "/users/{username}", Verb::DeleteUser),
    ("GET", "/connections", Verb::ListSessions),
    ("DELETE", "/connections/{id}", Verb::KillSession),
    ("GET", "/quotas/users/scans", Verb::ListScans),
    ("POST", "/quotas/users/{username}/scan", Verb::ScanQuota),
];

/// The verb of a gRPC call; `None`: there is no such call.
pub fn call(path: &str) -> Option<Verb> {
    CALLS.iter().find(|(known, _)| *known == path).map(|(_, verb)| *verb)
}

/// The verb of a REST route; `None`: not in the table.
pub fn route(method: &str, path: &str) -> Option<Verb> {
    let method = if method == "HEAD" { "GET" } else { method };
    ROUTES.iter().find(|(known, route, _)| *known == method && *route == path).map(|(_, _, verb)| *verb)
}

/// The token of an `Authorization: Bearer` header. The scheme's case does not matter (RFC 9110, 11.1).
pub(crate) fn bearer(headers: &http::HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(http::header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_permission_of_the_table_is_one_that_a_token_can_hold() {
        let verbs = CALLS.iter().map(|(_, verb)| *verb).chain(ROUTES.iter().map(|(_, _, verb)| *verb));
        for permission in verbs.filter_map(Verb::permission) {
            assert!(PERMISSIONS.contains(&permission), "{permission}");
        }
    }
}
