//! What a starting process does before it serves.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use flotilla_model::command::{InitCluster, PutNode};
use flotilla_model::{Command, CommandId, NodeId, RequestId};
use flotilla_raft::testing::simulation::{Core, Parts, Start, Witness, settings};
use flotilla_raft::testing::{Machine, Rosters, Shared};
use flotilla_raft::{Config, PeerAddress};
use openraft::impls::BasicNode;

use super::{WALL, World};
use crate::agent::Sessions;
use crate::disk::Disk;
use crate::net::{Factory, PeerCalls};
use crate::oracle::NodeWitness;

pub struct Starting {
    pub config: Config,
    pub start: Start,
    pub disk: Arc<Disk>,
    pub snapshot_dir: PathBuf,
    pub world: World,
    pub core: Arc<Mutex<Option<Core>>>,
    pub sessions: Arc<Sessions>,
    pub wants_ops: Arc<AtomicBool>,
}

impl Starting {
    pub async fn run(self) {
        let oracle = Arc::clone(&self.world.oracle);
        let node = self.config.node.0;
        if let Err(why) = self.open().await {
            oracle.fail(format!("node {node} does not start: {why}"));
        }
    }

    async fn open(self) -> Result<(), String> {
        let Starting { config, start, disk, snapshot_dir, world, core, sessions, wants_ops } = self;
        let counter = start.counter;
        let log = disk.open().map_err(|error| error.to_string())?;
        let rosters = Rosters::empty();
        let shared = Shared::new(config.node, start.counter, Arc::clone(&config.clock), rosters);
        let witness: Arc<dyn Witness> =
            Arc::new(NodeWitness { node: config.node.0, start: start.counter, oracle: Arc::clone(&world.oracle) });
        let _ = shared.witness.set(witness);
        shared.set_agent(Arc::clone(&sessions) as Arc<dyn flotilla_cluster::Agent>);
        let machine = Machine::open(&snapshot_dir, Arc::clone(&shared)).map_err(|error| error.to_string())?;
        let network = Factory { net: world.net.clone(), node: config.node.0, log: log.shown() };
        let parts = Parts {
            settings: settings(&config)?,
            shared,
            log,
            machine,
            calls: PeerCalls::of(&network),
            leases: tokio::runtime::Handle::current(),
            start,
        };
        let started = Core::start(&config, parts, network).await.map_err(|error| error.to_string())?;
        *core.lock().expect("no panic while the core is set") = Some(started.clone());
        if config.node.0 == 1 && counter == 1 {
            found(&started, &config).await?;
        }
        tokio::spawn(sessions.run(started, wants_ops));
        Ok(())
    }
}

/// What `bootstrap` does, with request ids that do not come from the machine's random numbers.
async fn found(core: &Core, config: &Config) -> Result<(), String> {
    let member = |(node, address): (&NodeId, &PeerAddress)| (node.0, BasicNode::new(&address.peer));
    let members: BTreeMap<u64, BasicNode> = config.peers.iter().map(member).collect();
    core.raft.initialize(members).await.map_err(|error| error.to_string())?;
    let mut commands = vec![Command::InitCluster(InitCluster { cluster_id: config.cluster_id.clone() })];
    commands.extend(config.peers.iter().map(|(node, address)| {
        Command::PutNode(PutNode {
            node: *node,
            name: address.name.clone(),
            public_key: address.public_key.clone(),
            peer_address: address.peer.clone(),
            admin_address: address.admin.clone(),
            sftp_address: address.sftp.clone(),
        })
    }));
    let core = core.clone();
    tokio::spawn(async move {
        for (number, command) in commands.into_iter().enumerate() {
            let id = RequestId(u128::from(WALL) << 80 | 7 << 76 | 0b10 << 62 | (number as u128 + 1));
            let submit =
                || core.proposer.submit(CommandId::Request(id), "bootstrap", command.clone(), Duration::from_secs(2));
            while submit().await.is_err() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    });
    Ok(())
}
