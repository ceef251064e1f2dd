//! The truth: when each request was read and each piece of its answer was written.

use std::fmt::Write as _;

#[derive(Debug, Clone, Copy)]
struct Row {
    id_at: usize,
    id_len: usize,
    read_ns: u64,
    times_at: usize,
    times_len: usize,
}

/// Stamps of every request since the last [`Stamps::clear`], in buffers that were allocated ahead.
#[derive(Debug)]
pub(crate) struct Stamps {
    ids: String,
    rows: Vec<Row>,
    times_ns: Vec<u64>,
}

impl Default for Stamps {
    fn default() -> Self {
        Self {
            ids: String::with_capacity(1 << 20),
            rows: Vec::with_capacity(1 << 15),
            times_ns: Vec::with_capacity(1 << 19),
        }
    }
}

impl Stamps {
    /// Notes a request that was read at `read_ns` and will have `pieces` writes; the number is for [`Stamps::wrote`].
    pub(crate) fn begin(&mut self, id: &str, read_ns: u64, pieces: usize) -> usize {
        let row = Row {
            id_at: self.ids.len(),
            id_len: id.len(),
            read_ns,
            times_at: self.times_ns.len(),
            times_len: pieces,
        };
        self.ids.push_str(id);
        self.times_ns.resize(self.times_ns.len() + pieces, 0);
        self.rows.push(row);
        self.rows.len() - 1
    }

    /// Notes that piece `piece` of request `row` is written now, at `at_ns`.
    pub(crate) fn wrote(&mut self, row: usize, piece: usize, at_ns: u64) {
        let slot = self.rows.get(row).map(|r| r.times_at + piece);
        if let Some(time) = slot.and_then(|i| self.times_ns.get_mut(i)) {
            *time = at_ns;
        }
    }

    /// Forgets everything but keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.ids.clear();
        self.rows.clear();
        self.times_ns.clear();
    }

    /// One line a request: its name (`-` where it gave none), when it was read, when each piece was written; all in ns of
    /// `CLOCK_MONOTONIC`, 0 where a piece was not written.
    #[must_use]
    pub(crate) fn text(&self) -> String {
        let mut out = String::with_capacity(self.times_ns.len() * 20);
        for row in &self.rows {
            let id = self.ids.get(row.id_at..row.id_at + row.id_len).unwrap_or_default();
            let id = if id.is_empty() { "-" } else { id };
            let times = self.times_ns.get(row.times_at..row.times_at + row.times_len);
            let _ = write!(out, "{id} {}", row.read_ns);
            for time in times.unwrap_or_default() {
                let _ = write!(out, " {time}");
            }
            out.push('\n');
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_interleave_stay_apart() {
        let mut stamps = Stamps::default();
        let a = stamps.begin("a", 10, 2);
        let b = stamps.begin("", 11, 1);
        stamps.wrote(b, 0, 13);
        stamps.wrote(a, 0, 12);
        stamps.wrote(a, 1, 14);
        assert_eq!(stamps.text(), "a 10 12 14\n- 11 13\n");
        stamps.clear();
        stamps.wrote(a, 0, 99);
        assert_eq!(stamps.text(), "");
    }
}
