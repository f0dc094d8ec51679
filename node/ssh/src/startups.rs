//! Connections that have not logged in yet: how many there may be, in all and from one source (`security.md` 4.6).

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::config::Limits;

/// Counts of a node.
pub(crate) struct Startups {
    begin: usize,
    percent: u32,
    full: usize,
    per_source: usize,
    counts: Mutex<Counts>,
}

#[derive(Default)]
struct Counts {
    all: usize,
    by_source: HashMap<IpAddr, usize>,
}

/// One connection's place, given back when dropped: at the end of the login, or of the connection.
pub(crate) struct Place {
    startups: Arc<Startups>,
    source: Option<IpAddr>,
}

/// Why a connection is closed before key exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Dropped {
    #[error("too many connections are logging in")]
    Crowded,
    #[error("too many connections from this source are logging in")]
    Source,
    #[error("this source failed too often")]
    Penalised,
}

/// IPv6 clients have a whole /64.
pub(crate) fn source_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(six) => Ipv6Addr::from_bits(six.to_bits() & !u128::from(u64::MAX)).into(),
        four => four,
    }
}

impl Startups {
    pub(crate) fn new(limits: &Limits) -> Arc<Self> {
        Arc::new(Startups {
            begin: limits.startups_begin,
            percent: limits.startups_percent.min(100),
            full: limits.startups_full.max(limits.startups_begin + 1),
            per_source: limits.startups_per_source,
            counts: Mutex::default(),
        })
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Percent of connections to drop when so many are logging in.
    fn drop_percent(&self, all: usize) -> u32 {
        if all < self.begin {
            return 0;
        }
        if all >= self.full {
            return 100;
        }
        let part = (100 - self.percent) as usize * (all - self.begin) / (self.full - self.begin);
        self.percent + u32::try_from(part).unwrap_or(100)
    }

    /// A place for a connection just accepted; `dice` is a random number below 100.
    pub(crate) fn enter(self: &Arc<Self>, dice: u32) -> Result<Place, Dropped> {
        let mut counts = self.counts();
        if dice < self.drop_percent(counts.all) {
            return Err(Dropped::Crowded);
        }
        counts.all += 1;
        Ok(Place { startups: Arc::clone(self), source: None })
    }
}

impl Place {
    /// Once the client's address is known.
    pub(crate) fn name_source(&mut self, address: IpAddr) -> Result<(), Dropped> {
        let source = source_of(address);
        let mut counts = self.startups.counts();
        let of_source = counts.by_source.entry(source).or_default();
        if *of_source >= self.startups.per_source {
            return Err(Dropped::Source);
        }
        *of_source += 1;
        self.source = Some(source);
        Ok(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.startups.counts();
        counts.all -= 1;
        let Some(source) = self.source else { return };
        if let Some(of_source) = counts.by_source.get_mut(&source) {
            *of_source -= 1;
            if *of_source == 0 {
                counts.by_source.remove(&source);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn startups(begin: usize, full: usize, per_source: usize) -> Arc<Startups> {
        Startups::new(&Limits {
            startups_begin: begin,
            startups_percent: 30,
            startups_full: full,
            startups_per_source: per_source,
            ..Limits::default()
        })
    }

    #[test]
    fn drops_begin_at_the_percentage_and_rise_to_all() {
        let startups = startups(10, 100, 10);
        assert_eq!([9, 10, 55, 99, 100, 500].map(|all| startups.drop_percent(all)), [0, 30, 65, 99, 100, 100]);
    }

    #[test]
    fn the_last_place_is_given_back_when_its_connection_ends() {
        let startups = startups(1, 2, 10);
        let first = startups.enter(99).expect("nobody is there");
        let second = startups.enter(99).expect("dice are kind");
        assert_eq!(startups.enter(99).err(), Some(Dropped::Crowded));
        drop(second);
        assert_eq!(startups.enter(29).err(), Some(Dropped::Crowded));
        drop(first);
        assert!(startups.enter(0).is_ok());
    }

    #[test]
    fn one_source_cannot_take_all_places() {
        let startups = startups(100, 200, 2);
        let enter = |address: &str| {
            let mut place = startups.enter(99).expect("there is room");
            place.name_source(address.parse().expect("an address")).map(|()| place)
        };
        let held = [enter("2001:db8::1"), enter("2001:db8::2")];
        assert!(held.iter().all(Result::is_ok));
        assert_eq!(enter("2001:db8::3").err(), Some(Dropped::Source));
        assert!(enter("2001:db8:0:1::1").is_ok());
        drop(held);
        assert!(enter("2001:db8::3").is_ok());
        assert!(startups.counts().by_source.is_empty());
    }
}
