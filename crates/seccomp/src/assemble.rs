//! Puts a program together from its end to its beginning, so that every jump knows where it goes.
use sys::seccomp::Insn;

use crate::code;

/// How far a conditional jump reaches.
const REACH: usize = u8::MAX as usize;

/// A place in the program, counted from its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place(usize);

/// A program that is being made.
#[derive(Debug, Default)]
pub(crate) struct Assembler {
    backwards: Vec<Insn>,
    /// The verdicts, each where it was last returned.
    returns: Vec<(u32, Place)>,
}

impl Assembler {
    /// Where the program ends with `verdict`.
    pub fn verdict(&mut self, verdict: u32) -> Place {
        match self.returns.iter().find(|(known, _)| *known == verdict) {
            Some((_, place)) => *place,
            None => self.push_return(verdict),
        }
    }

    /// Looks at the accumulator: goes on at `yes` when the comparison with `k` holds, else at `no`.
    pub fn jump(&mut self, code: u16, k: u32, yes: Place, no: Place) -> Place {
        // The second may need one more instruction, which comes between the jump and the first.
        let yes = self.within(yes, REACH - 1);
        let no = self.within(no, REACH);
        let (yes, no) = (self.distance(yes), self.distance(no));
        let short = |distance| u8::try_from(distance).unwrap_or(u8::MAX);
        self.push(Insn { code, yes: short(yes), no: short(no), k })
    }

    /// Does something, and goes on at `next`.
    pub fn before(&mut self, code: u16, k: u32, next: Place) -> Place {
        if self.distance(next) != 0 {
            self.go_to(next);
        }
        self.push(Insn { code, yes: 0, no: 0, k })
    }

    /// The program, from its beginning.
    pub fn finish(mut self) -> Vec<Insn> {
        self.backwards.reverse();
        self.backwards
    }

    /// A place that leads to `place` and is near enough.
    fn within(&mut self, place: Place, reach: usize) -> Place {
        if self.distance(place) <= reach {
            return place;
        }
        let verdict = self.backwards.get(place.0).filter(|insn| insn.code == code::RETURN).map(|insn| insn.k);
        let Some(verdict) = verdict else { return self.go_to(place) };
        match self.returns.iter().find(|(known, _)| *known == verdict) {
            Some((_, nearest)) if self.distance(*nearest) <= reach => *nearest,
            _ => self.push_return(verdict),
        }
    }

    fn push_return(&mut self, verdict: u32) -> Place {
        let place = self.push(Insn { code: code::RETURN, yes: 0, no: 0, k: verdict });
        self.returns.retain(|(known, _)| *known != verdict);
        self.returns.push((verdict, place));
        place
    }

    fn go_to(&mut self, place: Place) -> Place {
        let distance = u32::try_from(self.distance(place)).unwrap_or(u32::MAX);
        self.push(Insn { code: code::GO_TO, yes: 0, no: 0, k: distance })
    }

    /// How many instructions are between the next one to be made and a place.
    fn distance(&self, place: Place) -> usize {
        self.backwards.len() - 1 - place.0
    }

    fn push(&mut self, insn: Insn) -> Place {
        self.backwards.push(insn);
        Place(self.backwards.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A chain of comparisons with places that are further and further away.
    #[test]
    fn jumps_reach_everywhere() {
        let mut program = Assembler::default();
        let far = program.verdict(7);
        let body = program.before(code::LOAD, 0, far);
        let mut next = program.verdict(0);
        for k in 0..2000 {
            // Every third goes to what is no return, and is too far for most.
            let yes = if k % 3 == 0 { body } else { program.verdict(k % 3) };
            next = program.jump(code::IF_EQUAL, k, yes, next);
        }
        program.before(code::LOAD, 0, next);
        let program = program.finish();
        assert!(program.len() < 2700, "{}", program.len());
        for k in 0..2003 {
            let want = if k >= 2000 { 0 } else { [7, 1, 2][k as usize % 3] };
            let data = crate::Data { number: k, ..crate::Data::default() };
            assert_eq!(crate::run(&program, &data.to_bytes()), Some(want), "{k}");
        }
    }
}
