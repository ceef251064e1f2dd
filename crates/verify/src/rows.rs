//! Reading rows: bounded lines, each parsed by its schema, with the number of the line that does not read.

use crate::report::{Break, Kind};
use serde::de::DeserializeOwned;
use servelab_schema::{Format, unreadable};
use std::{
    io::{BufRead, Read},
    marker::PhantomData,
};

/// Longest row, bytes: an answer of a million tokens, each in a chunk of its own, with its text.
const LONGEST: u64 = 64 << 20;

/// Rows of a file, one after the other, up to the first that does not read.
pub(crate) struct Rows<'r, R, T> {
    from: &'r mut R,
    file: &'r str,
    line: Vec<u8>,
    /// Number of the line that was read last, from 1.
    number: u64,
    /// Bytes of the lines so far.
    bytes: u64,
    ended: bool,
    row: PhantomData<fn() -> T>,
}

impl<'r, R: BufRead, T> Rows<'r, R, T> {
    /// The rows of this reader; `file` names it.
    pub(crate) fn of(from: &'r mut R, file: &'r str) -> Self {
        Self {
            from,
            file,
            line: Vec::new(),
            number: 0,
            bytes: 0,
            ended: false,
            row: PhantomData,
        }
    }

    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes
    }

    fn broken(&self, kind: Kind, what: impl AsRef<str>) -> Box<Break> {
        Box::new(Break::inconsistent(kind, self.file, what).line(self.number))
    }

    /// Reads the next line; none at the end.
    fn read_line(&mut self) -> Result<Option<()>, Box<Break>> {
        self.line.clear();
        self.number = self.number.saturating_add(1);
        let read = self.from.by_ref().take(LONGEST).read_until(b'\n', &mut self.line);
        let n = read.map_err(|e| self.broken(Kind::Format, format!("it cannot be read on: {e}")))?;
        let n = u64::try_from(n).unwrap_or(u64::MAX);
        self.bytes = self.bytes.saturating_add(n);
        match self.line.last() {
            None => Ok(None),
            Some(b'\n') => Ok(Some(())),
            Some(_) if n >= LONGEST => {
                let what = format!("the row is longer than {} MB, which none is", LONGEST >> 20);
                Err(self.broken(Kind::TooLarge, what))
            }
            Some(_) => Err(self.broken(Kind::Torn, "the row has no end: the file was cut, or is not whole")),
        }
    }
}

impl<R: BufRead, T: DeserializeOwned + Format> Iterator for Rows<'_, R, T> {
    /// A row with the number of its line.
    type Item = Result<(u64, T), Box<Break>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let row = self.read_line().and_then(|line| {
            let parsed = line.map(|()| serde_json::from_slice(&self.line)).transpose();
            parsed.map_err(|e| match str::from_utf8(&self.line).ok().and_then(unreadable::<T>) {
                Some(why) => self.broken(Kind::Version, why.to_string()),
                None => self.broken(Kind::Row, format!("no row of its format: {e}")),
            })
        });
        self.ended = !matches!(row, Ok(Some(_)));
        row.transpose().map(|row| row.map(|row| (self.number, row)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(serde::Deserialize)]
    struct Number(u32);

    impl Format for Number {
        const READS: std::ops::RangeInclusive<u32> = 1..=1;
    }

    fn read(text: &str) -> (Vec<u32>, Option<(Kind, Option<u64>)>) {
        let mut from = text.as_bytes();
        let (mut rows, mut broken) = (Vec::new(), None);
        for row in Rows::<_, Number>::of(&mut from, "f") {
            match row {
                Ok((_, row)) => rows.push(row.0),
                Err(why) => broken = Some((why.kind, why.line)),
            }
        }
        (rows, broken)
    }

    #[test]
    fn the_line_that_does_not_read_is_named() {
        assert_eq!(read("1\n2\n"), (vec![1, 2], None));
        assert_eq!(read(""), (vec![], None));
        assert_eq!(read("1\n2"), (vec![1], Some((Kind::Torn, Some(2)))));
        assert_eq!(read("1\nx\n3\n"), (vec![1], Some((Kind::Row, Some(2)))));
        assert_eq!(read("1\n\n3\n"), (vec![1], Some((Kind::Row, Some(2)))));
        assert_eq!(read("1 2\n"), (vec![], Some((Kind::Row, Some(1)))));
    }
}
