//! What the walk of a scan may miss (7.3): renames and shrinks, and writes in place whose growth was judged by a size from before the scan.

use flotilla_model::LogIndex;

use super::Pages;

/// Of one book. What is over is told with the next settlement, what is under way in a report.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(in crate::ledger) struct Unseen {
    /// The scan that was confirmed last: sizes known from before it do not count any more.
    pub scan: LogIndex,
    /// Renames and shrinks under way.
    moving: u32,
    /// Writes in place under way: those begun since the last confirmation, and earlier ones.
    writing: u32,
    writing_before: u32,
    moved: bool,
    pub shrunk: bool,
}

impl Unseen {
    pub fn take(&mut self) -> bool {
        std::mem::take(&mut self.moved) | std::mem::take(&mut self.shrunk)
    }

    pub fn is_quiet(&self) -> bool {
        self.moving == 0 && self.writing == 0 && self.writing_before == 0
    }

    pub fn begin_move(&mut self) {
        self.moving += 1;
    }

    pub fn end_move(&mut self, shrunk: bool) {
        self.moving -= 1;
        self.moved = true;
        self.shrunk |= shrunk;
    }

    /// Which scan was confirmed as it began.
    pub fn begin_write(&mut self) -> LogIndex {
        self.writing += 1;
        self.scan
    }

    /// Whether it began before the last confirmation.
    pub fn end_write(&mut self, scan: LogIndex) -> bool {
        if scan == self.scan {
            self.writing -= 1;
            return false;
        }
        self.writing_before -= 1;
        self.moved = true;
        true
    }

    /// A scan is about to be confirmed, perhaps again.
    pub fn begin_scan(&mut self, begun: LogIndex) {
        if begun <= self.scan {
            return;
        }
        self.scan = begun;
        self.writing_before += std::mem::take(&mut self.writing);
    }

    pub fn writes_from_before(&self) -> bool {
        self.writing_before > 0
    }

    /// What was renamed until now was renamed before the walk. What was made shorter counts still: another node may have learnt the
    /// file's size just before that.
    pub fn forget_moves(&mut self) {
        self.moved = false;
    }

    fn is_under_way(&self) -> bool {
        self.moving > 0 || self.writes_from_before()
    }
}

impl Pages {
    /// Whether something goes on that a walk which is over by now may have missed. A removed file that is open here has no name, and is
    /// stored, also one whose credit was dropped.
    pub(in crate::ledger) fn hides_something(&self) -> bool {
        self.unseen.is_under_way() || !self.nameless.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_that_began_before_a_confirmation_is_told_when_it_is_over() {
        let mut unseen = Unseen::default();
        let before = unseen.begin_write();
        unseen.begin_scan(7);
        let behind = unseen.begin_write();
        unseen.begin_scan(7);
        assert!(unseen.writes_from_before() && unseen.is_under_way());
        assert!(!unseen.end_write(behind) && !unseen.take());
        assert!(unseen.end_write(before) && unseen.take());
        assert!(unseen.is_quiet() && !unseen.take());
    }

    #[test]
    fn a_confirmation_forgets_renames_that_are_over_and_no_shrinks() {
        let mut unseen = Unseen::default();
        unseen.begin_move();
        unseen.begin_move();
        unseen.end_move(false);
        unseen.forget_moves();
        assert!(unseen.is_under_way() && !unseen.take(), "one is under way, one was before the walk");
        unseen.end_move(true);
        unseen.forget_moves();
        assert!(unseen.take() && !unseen.take());
    }
}
