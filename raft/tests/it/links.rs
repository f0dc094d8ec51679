//! The network between the nodes of a test: a small proxy per direction, which can be cut and healed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flotilla_model::NodeId;
use flotilla_raft::{PeerAddress, Route};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// From one node to another.
type Link = (NodeId, NodeId);

pub struct Links {
    proxies: BTreeMap<Link, SocketAddr>,
    cut: watch::Sender<BTreeSet<Link>>,
    /// Connections that were tried.
    tried: Arc<AtomicU64>,
    open: Open,
}

/// Connections that something may pass, per link.
type Open = watch::Sender<BTreeMap<Link, usize>>;

/// One of them.
struct Passing(Open, Link);

impl Passing {
    fn new(open: &Open, link: Link) -> Self {
        open.send_modify(|open| *open.entry(link).or_default() += 1);
        Passing(open.clone(), link)
    }
}

impl Drop for Passing {
    fn drop(&mut self) {
        self.0.send_modify(|open| *open.entry(self.1).or_insert(1) -= 1);
    }
}

impl Links {
    pub async fn start(peers: &BTreeMap<NodeId, PeerAddress>) -> Arc<Self> {
        let cut = watch::Sender::new(BTreeSet::new());
        let mut proxies = BTreeMap::new();
        let (tried, open) = (Arc::new(AtomicU64::new(0)), Open::default());
        for from in peers.keys() {
            for (to, peer) in peers.iter().filter(|(to, _)| *to != from) {
                let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
                proxies.insert((*from, *to), listener.local_addr().expect("its address"));
                let counts = (Arc::clone(&tried), open.clone());
                tokio::spawn(serve(listener, peer.peer.clone(), (*from, *to), cut.subscribe(), counts));
            }
        }
        Arc::new(Links { proxies, cut, tried, open })
    }

    /// The way that a node's own connections take.
    pub fn route(self: &Arc<Self>, from: NodeId) -> Route {
        let links = Arc::clone(self);
        Arc::new(move |to, address| {
            links.proxies.get(&(from, to)).map_or_else(|| address.to_owned(), ToString::to_string)
        })
    }

    /// Cuts a node off from all others, in both directions. Open connections break.
    pub fn isolate(&self, node: NodeId) {
        self.cut_all(|link| link.0 == node || link.1 == node);
    }

    /// Cuts one direction of connecting: what runs over connections that `from` made.
    pub fn cut(&self, from: NodeId, to: NodeId) {
        self.cut_all(|link| *link == (from, to));
    }

    fn cut_all(&self, which: impl Fn(&Link) -> bool) {
        self.cut.send_modify(|cut| cut.extend(self.proxies.keys().filter(|link| which(link))));
    }

    /// Returns once nothing that is sent from now on passes a link that is cut.
    pub async fn broken(&self) {
        let cut = self.cut.borrow().clone();
        let passes = |open: &BTreeMap<Link, usize>| cut.iter().any(|link| open.get(link).is_some_and(|open| *open > 0));
        self.open.subscribe().wait_for(|open| !passes(open)).await.expect("the links are there");
    }

    /// How many connections have been tried so far, on all links.
    pub fn tried(&self) -> u64 {
        self.tried.load(Ordering::Relaxed)
    }

    pub fn heal(&self) {
        self.cut.send_replace(BTreeSet::new());
    }
}

async fn serve(
    listener: TcpListener,
    target: String,
    link: Link,
    cut: watch::Receiver<BTreeSet<Link>>,
    (tried, open): (Arc<AtomicU64>, Open),
) {
    while let Ok((mut near, _)) = listener.accept().await {
        tried.fetch_add(1, Ordering::Relaxed);
        let (target, mut cut) = (target.clone(), cut.clone());
        let passing = Passing::new(&open, link);
        tokio::spawn(async move {
            let _passing = passing;
            if cut.borrow().contains(&link) {
                return;
            }
            let Ok(mut far) = TcpStream::connect(target).await else { return };
            let (_, _) = (near.set_nodelay(true), far.set_nodelay(true));
            tokio::select! {
                _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                _ = cut.wait_for(|cut| cut.contains(&link)) => {}
            }
        });
    }
}
