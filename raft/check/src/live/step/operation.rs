//! One step of a client's operation: in the book, on the disk, in the book again.

use flotilla_model::command::CreditItem;
use flotilla_model::{Amount, CreditedInode};

use super::super::{File, Live, Mark, Operation, Phase, Place, S, UPLOADED, Variant, What};
use super::view;
use crate::quota::limits;

const GONE: File = File { place: Place::Nowhere, size: 0 };

pub fn go(model: &Live, s: &mut S, at: usize) {
    let Operation { node, what, phase } = s.operations[at];
    s.operations[at].phase = match phase {
        Phase::Idle => begin(model, s, node, what),
        Phase::Begun(mark) => call(s, node, what, mark),
        Phase::Done(mark) => done(model, s, node, what, mark),
        Phase::Measuring { token, index } => measure(s, node, what, (token, index)),
        Phase::Unlinked { token, index, size } => credit(model, s, node, what, (token, index, size)),
        Phase::Held { token } => {
            s.files[0] = GONE;
            let known = s.known[node];
            let at = if model.variant == Variant::StaleCredit { u64::MAX } else { known.at };
            s.processes[node].book.release(token, known.charged as u64, at);
            Phase::Over
        }
        Phase::Over => Phase::Over,
    };
}

fn begin(model: &Live, s: &mut S, node: usize, what: What) -> Phase {
    let mut mark = Mark::default();
    if what != What::Upload && s.files[0].place == Place::Nowhere {
        return Phase::Over;
    }
    match what {
        What::Upload => {
            mark.number = Some(charge(model, s, node, Amount::new(UPLOADED, 1)));
            s.files[1] = File { place: Place::Staging(node), size: UPLOADED };
        }
        What::Rename if model.variant != Variant::SilentRename => s.processes[node].book.begin_move(),
        What::Rename => {}
        What::Remove | What::RemoveOpen => {
            let index = view(model, s, node).applied_index();
            mark.number = Some(s.processes[node].book.measuring(index));
        }
        What::Grow(to) | What::Shrink(to) => mark = write(model, s, node, to),
    }
    Phase::Begun(mark)
}

/// What the file is charged for is looked up anew since a scan; growth beyond it is charged (`Session::charge_growth`).
fn write(model: &Live, s: &mut S, node: usize, to: i64) -> Mark {
    let silent = model.variant == Variant::SilentOldWrite;
    let book = &mut s.processes[node].book;
    let last = book.last_scan();
    let mut mark = Mark { scan: if silent { last } else { book.begin_write() }, ..Mark::default() };
    if s.known[node].at < last && model.variant != Variant::KeepsCharged {
        (s.known[node].charged, s.known[node].at) = (s.files[0].size, last);
    }
    let more = to - s.known[node].charged;
    if more > 0 {
        mark.number = Some(charge(model, s, node, Amount::new(more, 0)));
        s.known[node].charged = to;
    }
    mark.shrinks = more < 0;
    if mark.shrinks && model.variant != Variant::SilentShrink {
        s.processes[node].book.begin_move();
    }
    mark
}

fn charge(model: &Live, s: &mut S, node: usize, amount: Amount) -> u64 {
    let limits = limits(&view(model, s, node));
    let book = &mut s.processes[node].book;
    let number = book.begin();
    assert!(book.raise_to(number, limits, amount), "there is room for all");
    number
}

/// The system call. Into a fenced folder nothing comes, and out of it nothing goes.
fn call(s: &mut S, node: usize, what: What, mark: Mark) -> Phase {
    let is_fenced = node == 0 && s.fenced;
    match what {
        What::Upload | What::Remove | What::RemoveOpen if is_fenced => return give_up(s, node, what, mark),
        What::Upload => s.files[1].place = Place::Folder(0),
        What::Rename => s.files[0].place = Place::Folder(0),
        What::Remove | What::RemoveOpen => s.files[0].place = Place::Staging(node),
        // Removed, and nobody has it open.
        What::Grow(_) | What::Shrink(_) if s.files[0].place == Place::Nowhere => {}
        What::Grow(to) => s.files[0].size = s.files[0].size.max(to),
        What::Shrink(to) => s.files[0].size = to,
    }
    Phase::Done(mark)
}

fn done(model: &Live, s: &mut S, node: usize, what: What, mark: Mark) -> Phase {
    let state = view(model, s, node);
    let variant = model.variant;
    let book = &mut s.processes[node].book;
    match what {
        What::Rename if variant == Variant::SilentRename => {}
        What::Rename => book.end_move(&state, false),
        What::Remove | What::RemoveOpen => {
            let token = mark.number.expect("it is being measured");
            if variant != Variant::NamelessOnceHeld {
                book.measure_now(token);
            }
            return Phase::Measuring { token, index: state.applied_index() };
        }
        What::Upload | What::Grow(_) | What::Shrink(_) => {
            if let Some(number) = mark.number {
                book.publish(number);
                book.end(number);
            }
            if mark.shrinks && variant == Variant::SilentShrink {
                book.mark();
            } else if mark.shrinks {
                book.end_move(&state, true);
            }
            if what != What::Upload && variant != Variant::SilentOldWrite {
                book.end_write(mark.scan);
            }
        }
    }
    Phase::Over
}

fn measure(s: &mut S, node: usize, what: What, (token, index): (u64, u64)) -> Phase {
    if s.files[0].place != Place::Staging(node) {
        // A fence was quicker: nothing to be measured.
        s.processes[node].book.measured(token, None);
        s.processes[node].book.mark();
        return Phase::Over;
    }
    let size = s.files[0].size;
    s.files[0] = if what == What::RemoveOpen { File { place: Place::Nameless, size } } else { GONE };
    Phase::Unlinked { token, index, size }
}

fn credit(model: &Live, s: &mut S, node: usize, what: What, (token, index, size): (u64, u64, i64)) -> Phase {
    let inode = CreditedInode { inode: 7, birth_ns: 1 };
    let item = CreditItem { amount: Amount::new(size, 1), inode, measured: index };
    let book = &mut s.processes[node].book;
    if what == What::RemoveOpen {
        if model.variant == Variant::NamelessOnceHeld {
            book.measure_now(token);
        }
        book.hold(token, item);
        return Phase::Held { token };
    }
    book.measured(token, Some(item));
    Phase::Over
}

/// It fails, or its thread never came to the call.
fn give_up(s: &mut S, node: usize, what: What, mark: Mark) -> Phase {
    let book = &mut s.processes[node].book;
    match (what, mark.number) {
        (What::Remove | What::RemoveOpen, Some(token)) => book.measured(token, None),
        (_, Some(number)) => {
            book.give_back(number);
            book.end(number);
        }
        (_, None) => {}
    }
    Phase::Over
}

/// The process thaws behind its lease: the last check refuses.
pub fn never_called(s: &mut S, at: usize, mark: Mark) {
    let Operation { node, what, .. } = s.operations[at];
    if what == What::Upload {
        s.files[1] = GONE;
    }
    s.operations[at].phase = give_up(s, node, what, mark);
}
