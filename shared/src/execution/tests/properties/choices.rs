//! Random choices that shrink: a stream of numbers, and zero (the simplest choice) once it has run out.

pub(super) struct Choices<'a> {
    stream: &'a [u16],
    at: usize,
}

impl<'a> Choices<'a> {
    pub(super) fn new(stream: &'a [u16]) -> Self {
        Choices { stream, at: 0 }
    }

    /// A number below `bound`.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        let number = self.stream.get(self.at).copied().unwrap_or(0);
        self.at += 1;
        usize::from(number) % bound.max(1)
    }

    /// True once in `of` times; false when chance has run out.
    pub(super) fn rarely(&mut self, of: usize) -> bool {
        self.below(of) == of - 1
    }

    pub(super) fn one<'t, T>(&mut self, of: &'t [T]) -> &'t T {
        &of[self.below(of.len())]
    }
}
