//! Who may do what: the one table of verbs, their permissions, and the gRPC calls and REST routes that are those verbs.
//!
//! What is not in the table is refused, so a new call or route without an entry cannot be reached.

use flotilla_model::RecordKind;

/// What is done to a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    Create,
    Get,
    List,
    Update,
    Delete,
}

/// What a caller can ask of the service layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Admins, groups, folders, roles, API keys.
    Record(Act, RecordKind),
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
    /// A token for an admin's password.
    Login,
    /// The end of a login's token.
    Logout,
    /// The history, once or as a stream.
    ReadEvents,
    /// All records with their secrets' hashes, out and in.
    Dump,
    Load,
    CreateJoinToken,
    TransferLeadership,
    DrainNode,
    RemoveNode,
    ListHostKeys,
    RotateHostKeys,
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
            Verb::Record(_, RecordKind::Group) => Some("manage_groups"),
            Verb::Record(_, RecordKind::Folder) => Some("manage_folders"),
            Verb::Record(..) | Verb::CreateToken | Verb::ListTokens | Verb::DeleteToken => Some("*"),
            Verb::ReadEvents => Some("view_events"),
            Verb::Dump | Verb::Load | Verb::SaveBackup => Some("*"),
            Verb::Login | Verb::Logout | Verb::Look => None,
            Verb::ListHostKeys => Some("view_status"),
            Verb::CreateJoinToken
            | Verb::TransferLeadership
            | Verb::DrainNode
            | Verb::RemoveNode
            | Verb::RotateHostKeys => Some("*"),
        }
    }

    /// It concerns the users of all roles: not for an admin with a role, whatever else that one may.
    pub fn concerns_all_users(self) -> bool {
        match self {
            Verb::ReadEvents => true,
            Verb::Record(act, RecordKind::Group | RecordKind::Folder) => !matches!(act, Act::Get | Act::List),
            _ => false,
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
    ("/flotilla.admin.v1.Quotas/WatchScan", Verb::ListScans),
    ("/flotilla.admin.v1.Cluster/GetStatus", Verb::GetStatus),
    ("/flotilla.admin.v1.Cluster/WatchNode", Verb::GetStatus),
    ("/flotilla.admin.v1.Cluster/Ping", Verb::Look),
    ("/flotilla.admin.v1.Sessions/WatchSessions", Verb::ListSessions),
    ("/flotilla.admin.v1.Events/ListEvents", Verb::ReadEvents),
    ("/flotilla.admin.v1.Events/WatchEvents", Verb::ReadEvents),
    ("/flotilla.admin.v1.Admins/CreateAdmin", Verb::Record(Act::Create, RecordKind::Admin)),
    ("/flotilla.admin.v1.Admins/GetAdmin", Verb::Record(Act::Get, RecordKind::Admin)),
    ("/flotilla.admin.v1.Admins/ListAdmins", Verb::Record(Act::List, RecordKind::Admin)),
    ("/flotilla.admin.v1.Admins/UpdateAdmin", Verb::Record(Act::Update, RecordKind::Admin)),
    ("/flotilla.admin.v1.Admins/DeleteAdmin", Verb::Record(Act::Delete, RecordKind::Admin)),
    ("/flotilla.admin.v1.Groups/CreateGroup", Verb::Record(Act::Create, RecordKind::Group)),
    ("/flotilla.admin.v1.Groups/GetGroup", Verb::Record(Act::Get, RecordKind::Group)),
    ("/flotilla.admin.v1.Groups/ListGroups", Verb::Record(Act::List, RecordKind::Group)),
    ("/flotilla.admin.v1.Groups/UpdateGroup", Verb::Record(Act::Update, RecordKind::Group)),
    ("/flotilla.admin.v1.Groups/DeleteGroup", Verb::Record(Act::Delete, RecordKind::Group)),
    ("/flotilla.admin.v1.Folders/CreateFolder", Verb::Record(Act::Create, RecordKind::Folder)),
    ("/flotilla.admin.v1.Folders/GetFolder", Verb::Record(Act::Get, RecordKind::Folder)),
    ("/flotilla.admin.v1.Folders/ListFolders", Verb::Record(Act::List, RecordKind::Folder)),
    ("/flotilla.admin.v1.Folders/UpdateFolder", Verb::Record(Act::Update, RecordKind::Folder)),
    ("/flotilla.admin.v1.Folders/DeleteFolder", Verb::Record(Act::Delete, RecordKind::Folder)),
    ("/flotilla.admin.v1.Roles/CreateRole", Verb::Record(Act::Create, RecordKind::Role)),
    ("/flotilla.admin.v1.Roles/GetRole", Verb::Record(Act::Get, RecordKind::Role)),
    ("/flotilla.admin.v1.Roles/ListRoles", Verb::Record(Act::List, RecordKind::Role)),
    ("/flotilla.admin.v1.Roles/UpdateRole", Verb::Record(Act::Update, RecordKind::Role)),
    ("/flotilla.admin.v1.Roles/DeleteRole", Verb::Record(Act::Delete, RecordKind::Role)),
    ("/flotilla.admin.v1.Tokens/CreateApiKey", Verb::Record(Act::Create, RecordKind::ApiKey)),
    ("/flotilla.admin.v1.Tokens/GetApiKey", Verb::Record(Act::Get, RecordKind::ApiKey)),
    ("/flotilla.admin.v1.Tokens/ListApiKeys", Verb::Record(Act::List, RecordKind::ApiKey)),
    ("/flotilla.admin.v1.Tokens/UpdateApiKey", Verb::Record(Act::Update, RecordKind::ApiKey)),
    ("/flotilla.admin.v1.Tokens/DeleteApiKey", Verb::Record(Act::Delete, RecordKind::ApiKey)),
    ("/flotilla.admin.v1.Tokens/Login", Verb::Login),
    ("/flotilla.admin.v1.Tokens/Logout", Verb::Logout),
    ("/flotilla.admin.v1.Tokens/CreateToken", Verb::CreateToken),
    ("/flotilla.admin.v1.Tokens/ListTokens", Verb::ListTokens),
    ("/flotilla.admin.v1.Tokens/DeleteToken", Verb::DeleteToken),
    ("/flotilla.admin.v1.Backups/SaveBackup", Verb::SaveBackup),
    ("/flotilla.admin.v1.Backups/WatchLoad", Verb::Load),
    ("/flotilla.admin.v1.Membership/CreateJoinToken", Verb::CreateJoinToken),
    ("/flotilla.admin.v1.Membership/TransferLeadership", Verb::TransferLeadership),
    ("/flotilla.admin.v1.Membership/DrainNode", Verb::DrainNode),
    ("/flotilla.admin.v1.Membership/RemoveNode", Verb::RemoveNode),
    ("/flotilla.admin.v1.Membership/ListHostKeys", Verb::ListHostKeys),
    ("/flotilla.admin.v1.Membership/RotateHostKeys", Verb::RotateHostKeys),
    ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", Verb::Look),
    ("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", Verb::Look),
];

/// REST routes by method and path under `/api/v2`.
pub const ROUTES: &[(&str, &str, Verb)] = &[
    ("GET", "/version", Verb::Look),
    ("GET", "/token", Verb::Login),
    ("GET", "/logout", Verb::Logout),
    ("GET", "/events", Verb::ReadEvents),
    ("GET", "/dumpdata", Verb::Dump),
    ("POST", "/loaddata", Verb::Load),
    ("GET", "/admins", Verb::Record(Act::List, RecordKind::Admin)),
    ("POST", "/admins", Verb::Record(Act::Create, RecordKind::Admin)),
    ("GET", "/admins/{username}", Verb::Record(Act::Get, RecordKind::Admin)),
    ("PUT", "/admins/{username}", Verb::Record(Act::Update, RecordKind::Admin)),
    ("DELETE", "/admins/{username}", Verb::Record(Act::Delete, RecordKind::Admin)),
    ("GET", "/groups", Verb::Record(Act::List, RecordKind::Group)),
    ("POST", "/groups", Verb::Record(Act::Create, RecordKind::Group)),
    ("GET", "/groups/{name}", Verb::Record(Act::Get, RecordKind::Group)),
    ("PUT", "/groups/{name}", Verb::Record(Act::Update, RecordKind::Group)),
    ("DELETE", "/groups/{name}", Verb::Record(Act::Delete, RecordKind::Group)),
    ("GET", "/folders", Verb::Record(Act::List, RecordKind::Folder)),
    ("POST", "/folders", Verb::Record(Act::Create, RecordKind::Folder)),
    ("GET", "/folders/{name}", Verb::Record(Act::Get, RecordKind::Folder)),
    ("PUT", "/folders/{name}", Verb::Record(Act::Update, RecordKind::Folder)),
    ("DELETE", "/folders/{name}", Verb::Record(Act::Delete, RecordKind::Folder)),
    ("GET", "/roles", Verb::Record(Act::List, RecordKind::Role)),
    ("POST", "/roles", Verb::Record(Act::Create, RecordKind::Role)),
    ("GET", "/roles/{name}", Verb::Record(Act::Get, RecordKind::Role)),
    ("PUT", "/roles/{name}", Verb::Record(Act::Update, RecordKind::Role)),
    ("DELETE", "/roles/{name}", Verb::Record(Act::Delete, RecordKind::Role)),
    ("GET", "/apikeys", Verb::Record(Act::List, RecordKind::ApiKey)),
    ("POST", "/apikeys", Verb::Record(Act::Create, RecordKind::ApiKey)),
    ("GET", "/apikeys/{id}", Verb::Record(Act::Get, RecordKind::ApiKey)),
    ("PUT", "/apikeys/{id}", Verb::Record(Act::Update, RecordKind::ApiKey)),
    ("DELETE", "/apikeys/{id}", Verb::Record(Act::Delete, RecordKind::ApiKey)),
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
    ("PUT", "/quotas/users/{username}/usage", Verb::UpdateUser),
    ("PUT", "/quotas/users/{username}/transfer-usage", Verb::UpdateUser),
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

/// What a caller proves itself by.
pub(crate) enum Credential<'a> {
    Bearer(&'a str),
    /// Name and password, base64 (RFC 7617).
    Basic(&'a str),
    /// SFTPGo's `X-SFTPGO-API-KEY: ID.KEY[.ADMIN]`.
    ApiKey(&'a str),
}

/// The credential of a request. A scheme's case does not matter (RFC 9110, 11.1).
pub(crate) fn credential(headers: &http::HeaderMap) -> Option<Credential<'_>> {
    if let Some(key) = headers.get("x-sftpgo-api-key") {
        return key.to_str().ok().map(Credential::ApiKey);
    }
    let (scheme, text) = headers.get(http::header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    match (scheme.to_ascii_lowercase().as_str(), text.trim()) {
        (_, "") => None,
        ("bearer", token) => Some(Credential::Bearer(token)),
        ("basic", pair) => Some(Credential::Basic(pair)),
        _ => None,
    }
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
