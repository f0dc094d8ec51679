//! A cluster's log in small: applies commands one entry at a time and keeps what a test asks for.

use std::collections::BTreeMap;

use flotilla_model::command::*;
use flotilla_model::*;

/// The state with the next index and each node's next number.
pub struct World {
    pub state: State,
    pub index: LogIndex,
    pub wall: u64,
    pub last: Applied,
    numbers: BTreeMap<NodeId, u64>,
}

pub fn name(text: &str) -> Username {
    Username::parse(text).unwrap()
}

pub fn kept(text: &str) -> Name {
    Name::parse(text).unwrap()
}

/// An enabled admin with a password who may do everything.
pub fn admin_spec() -> AdminSpec {
    AdminSpec {
        status: Status::Enabled,
        password_hash: Some("$argon2id$a".into()),
        permissions: vec!["*".into()],
        email: String::new(),
        description: String::new(),
        additional_info: String::new(),
        role: None,
        allow_list: Vec::new(),
        allow_api_key_auth: false,
    }
}

pub fn folder_spec(path: &str) -> FolderSpec {
    FolderSpec { mapped_path: path.into(), description: String::new() }
}

/// A group with these folders, each mounted at its name.
pub fn group_spec(folders: &[&str]) -> GroupSpec {
    let mount = |folder: &&str| Mount {
        folder: kept(folder),
        virtual_path: format!("/{folder}"),
        quota_size: 0,
        quota_files: 0,
    };
    GroupSpec { virtual_folders: folders.iter().map(mount).collect(), ..GroupSpec::default() }
}

pub fn storage() -> StorageName {
    StorageName::parse("files").unwrap()
}

pub fn root(path: &str) -> Root {
    Root::new(storage(), path).unwrap()
}

/// An enabled user at home in `home` with a password and all permissions.
pub fn spec(home: &str) -> UserSpec {
    UserSpec {
        status: Status::Enabled,
        expiration_date: 0,
        password_hash: Some("$argon2id$1".into()),
        public_keys: vec!["ssh-ed25519 AAAA one".into()],
        home: root(home),
        uid: 0,
        gid: 0,
        max_sessions: 0,
        quota_size: 0,
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
    }
}

impl World {
    /// An initialised cluster whose nodes 1 to `nodes` are registered.
    pub fn new(nodes: u64) -> Self {
        let mut world = World::empty();
        world.run(Command::InitCluster(InitCluster { cluster_id: "test".into() })).unwrap();
        for node in 1..=nodes {
            world.run(Command::PutNode(put_node(node))).unwrap();
            world.register(node);
        }
        world
    }

    pub fn empty() -> Self {
        let (state, numbers, last) = (State::default(), BTreeMap::new(), Applied::default());
        World { state, index: 0, wall: 1_700_000_000_000, last, numbers }
    }

    pub fn entry(&mut self, commands: Vec<Envelope>) -> Vec<Reply> {
        self.index += 1;
        self.wall += 1;
        let entry = Entry { time: LogTime(self.index), wall: WallTime(self.wall), commands };
        self.last = self.state.apply(self.index, &entry);
        self.last.replies.clone()
    }

    pub fn run_as(&mut self, id: CommandId, command: Command) -> Reply {
        self.entry(vec![Envelope { id, actor: "test".into(), command }]).remove(0)
    }

    pub fn run(&mut self, command: Command) -> Reply {
        self.run_as(CommandId::Unnumbered, command)
    }

    pub fn epoch(&self, node: u64) -> Epoch {
        self.state.node(NodeId(node)).unwrap().last_epoch
    }

    pub fn register(&mut self, node: u64) -> Epoch {
        self.register_as(node, self.epoch(node).0 + 1)
    }

    /// Registers a process by its start number: a new one, or again the one that runs.
    pub fn register_as(&mut self, node: u64, start: u64) -> Epoch {
        let replaces = self.epoch(node);
        let command = RegisterNode { store: 1, nonce: 1, node: NodeId(node), start, replaces, version: "test".into() };
        self.run(Command::RegisterNode(command)).unwrap();
        self.numbers.insert(NodeId(node), 0);
        self.epoch(node)
    }

    pub fn expire(&mut self, node: u64) -> Reply {
        let row = self.state.node(NodeId(node)).unwrap();
        let command = Expire { node: row.id, epoch: row.last_epoch, last_renewal: row.renewal };
        self.run(Command::Expire(command))
    }

    /// The id of the node's next command.
    pub fn id(&mut self, node: u64) -> CommandId {
        let number = self.numbers.entry(NodeId(node)).or_default();
        *number += 1;
        let number = *number;
        CommandId::Node { node: NodeId(node), epoch: self.epoch(node), number, answered_below: number }
    }

    pub fn create(&mut self, username: &str, spec: UserSpec) -> LogIndex {
        self.run(Command::CreateUser(CreateUser { username: name(username), spec })).unwrap();
        self.index
    }

    pub fn update(&mut self, username: &str, patch: UserPatch) -> Reply {
        self.run(Command::UpdateUser(UpdateUser { username: name(username), expected_revision: None, patch }))
    }

    /// The open that a node would propose now.
    pub fn open_command(&self, username: &str) -> Command {
        let user = self.state.user(&name(username)).unwrap();
        Command::OpenSession(OpenSession {
            username: user.username.clone(),
            incarnation: user.incarnation,
            credential_revision: user.credential_revision,
            remote: "192.0.2.1:4711".into(),
            protocol: "SFTP".into(),
            method: "password".into(),
            ahead: Amount::ZERO,
        })
    }

    pub fn open(&mut self, node: u64, username: &str) -> Result<SessionId, Refusal> {
        let (id, command) = (self.id(node), self.open_command(username));
        match self.run_as(id, command)? {
            Done::Opened { session } => Ok(session),
            other => panic!("an open answered {other:?}"),
        }
    }

    pub fn close(&mut self, session: SessionId) -> Reply {
        let id = self.id(session.node.0);
        self.run_as(id, close_command(session))
    }

    pub fn cut(&self, session: SessionId) -> Option<CutReason> {
        self.state.session_cut(self.state.session(session).unwrap())
    }
}

pub fn envelope(command: Command) -> Envelope {
    Envelope { id: CommandId::Unnumbered, actor: "test".into(), command }
}

/// Three nodes, `users` users; `crowd` has `sessions` sessions over the nodes. `seen` looks at the world behind each entry.
pub fn crowded(users: u64, sessions: u64, seen: impl Fn(&World)) -> World {
    let mut world = World::new(3);
    for first in (0..users).step_by(256) {
        let create = |user: u64| {
            let username = name(&format!("user{user}"));
            envelope(Command::CreateUser(CreateUser { username, spec: spec(&format!("homes/{user}")) }))
        };
        let replies = world.entry((first..users.min(first + 256)).map(create).collect());
        assert!(replies.iter().all(Result::is_ok));
        seen(&world);
    }
    world.create("crowd", spec("crowd"));
    open_many(&mut world, "crowd", sessions, seen);
    world
}

/// Sessions of a user over three nodes, many in an entry.
pub fn open_many(world: &mut World, user: &str, sessions: u64, seen: impl Fn(&World)) {
    for first in (0..sessions).step_by(256) {
        let mut commands = Vec::new();
        for turn in first..sessions.min(first + 256) {
            let id = world.id(1 + turn % 3);
            commands.push(Envelope { id, actor: "node".into(), command: world.open_command(user) });
        }
        let replies = world.entry(commands);
        assert!(replies.iter().all(Result::is_ok), "{replies:?}");
        seen(world);
    }
}

pub fn put_node(node: u64) -> PutNode {
    PutNode {
        public_key: Vec::new(),
        node: NodeId(node),
        name: format!("node{node}"),
        peer_address: "127.0.0.1:8082".into(),
        admin_address: "127.0.0.1:8080".into(),
        sftp_address: "127.0.0.1:2022".into(),
    }
}

pub fn close_command(session: SessionId) -> Command {
    Command::CloseSession(CloseSession {
        session,
        reason: "client left".into(),
        bytes_uploaded: 1,
        bytes_downloaded: 2,
    })
}

/// The key, name and addresses of a node that asks to be let in.
pub fn admit_node(token_hash: [u8; 32], number: u8) -> AdmitNode {
    AdmitNode {
        token_hash,
        public_key: vec![number; 91],
        name: format!("new{number}"),
        peer_address: format!("127.0.0.{number}:8082"),
        admin_address: String::new(),
        sftp_address: String::new(),
    }
}
