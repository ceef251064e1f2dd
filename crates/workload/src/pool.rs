//! The text that is still to be had: runs of unused units, from which every piece is taken once.

use crate::{
    WorkloadError,
    records::{Dataset, Question, Record, Unit},
    wire::Kind,
};
use servelab_chat::ChatTokenizer;
use servelab_random::HashStream;

/// Units `start..end` of a record, as they go into a prompt.
#[derive(Debug, Clone)]
pub(crate) struct Piece {
    pub(crate) dataset: String,
    pub(crate) record: String,
    pub(crate) title: String,
    pub(crate) group: String,
    /// Number of the first unit, from 0.
    pub(crate) start: usize,
    /// The units' texts; the last may be cut.
    pub(crate) units: Vec<String>,
    pub(crate) tokens: usize,
}

impl Piece {
    /// The text: one unit a line.
    pub(crate) fn text(&self) -> String {
        self.units.join("\n")
    }
}

/// An unused run of units.
#[derive(Debug, Clone, Copy)]
struct Segment {
    record: usize,
    start: usize,
    end: usize,
    tokens: usize,
}

/// What is left of a dataset, or of the part of it that is set aside.
#[derive(Debug)]
pub(crate) struct Pool<'a> {
    dataset: &'a Dataset,
    segments: Vec<Segment>,
}

fn sum(units: &[Unit]) -> usize {
    units.iter().map(|unit| unit.tokens).sum()
}

/// Splits a dataset in two by whole records: the first part has `percent` of the tokens.
pub(crate) fn split<'a>(dataset: &'a Dataset, percent: u32, stream: &mut HashStream) -> (Pool<'a>, Pool<'a>) {
    let mut segments: Vec<Segment> = (0..)
        .zip(&dataset.records)
        .map(|(record, r)| Segment {
            record,
            start: 0,
            end: r.units.len(),
            tokens: sum(&r.units),
        })
        .filter(|segment| segment.tokens > 0)
        .collect();
    stream.shuffle(&mut segments);
    let all: usize = segments.iter().map(|s| s.tokens).sum();
    let wanted = all / 100 * usize::try_from(percent).unwrap_or(100);
    let mut taken = 0;
    let (first, rest) = segments.into_iter().partition(|segment| {
        let reserve = taken < wanted;
        taken += segment.tokens;
        reserve
    });
    (
        Pool {
            dataset,
            segments: first,
        },
        Pool {
            dataset,
            segments: rest,
        },
    )
}

impl Pool<'_> {
    /// A primary section of about `want` tokens, never more. For facts, a question with it that only it answers once.
    pub(crate) fn primary(
        &mut self,
        want: usize,
        chat: &ChatTokenizer,
        stream: &mut HashStream,
    ) -> Result<(Piece, Option<Question>), WorkloadError> {
        let found = match self.dataset.kind {
            Kind::Prose => self.passage(want, chat, stream)?.map(|piece| (piece, None)),
            Kind::Dialogue => self.conversation(want).map(|piece| (piece, None)),
            Kind::Facts => self
                .facts(want, stream)
                .map(|(piece, question)| (piece, Some(question))),
        };
        found.ok_or_else(|| self.exhausted(want, "a PRIMARY section"))
    }

    fn exhausted(&self, wanted: usize, what: &str) -> WorkloadError {
        WorkloadError::Exhausted {
            dataset: self.dataset.id.clone(),
            what: what.to_owned(),
            wanted,
        }
    }

    fn record(&self, segment: Segment) -> Option<&Record> {
        self.dataset.records.get(segment.record)
    }

    fn units(&self, segment: Segment) -> &[Unit] {
        self.record(segment)
            .and_then(|r| r.units.get(segment.start..segment.end))
            .unwrap_or_default()
    }

    fn piece(&self, segment: Segment, start: usize, end: usize) -> Option<Piece> {
        let record = self.record(segment)?;
        let units = record.units.get(start..end)?;
        Some(Piece {
            dataset: self.dataset.id.clone(),
            record: record.id.clone(),
            title: record.title.clone(),
            group: record.group.clone(),
            start,
            tokens: sum(units),
            units: units.iter().map(|unit| unit.text.clone()).collect(),
        })
    }

    /// Takes units `start..end` out of a segment; what is left before and behind stays to be had if `keep`.
    fn take(&mut self, index: usize, start: usize, end: usize, keep: bool) -> Option<Piece> {
        let segment = *self.segments.get(index)?;
        let piece = self.piece(segment, start, end)?;
        self.segments.swap_remove(index);
        if keep {
            for (start, end) in [(segment.start, start), (end, segment.end)] {
                let rest = Segment {
                    start,
                    end,
                    tokens: 0,
                    ..segment
                };
                let tokens = sum(self.units(rest));
                if tokens > 0 {
                    self.segments.push(Segment { tokens, ..rest });
                }
            }
        }
        Some(piece)
    }

    /// Indices of the segments that hold `want` tokens; where none does, all, the largest last.
    fn candidates(&self, want: usize) -> (Vec<usize>, bool) {
        let tokens = |i: &usize| self.segments.get(*i).map_or(0, |s| s.tokens);
        let enough: Vec<usize> = (0..self.segments.len()).filter(|i| tokens(i) >= want).collect();
        if !enough.is_empty() {
            return (enough, true);
        }
        let mut all: Vec<usize> = (0..self.segments.len()).collect();
        all.sort_by_key(tokens);
        (all, false)
    }

    /// One after another: any of those with enough text, or else the largest first.
    fn next(candidates: &mut (Vec<usize>, bool), stream: &mut HashStream) -> Option<usize> {
        let (indices, enough) = candidates;
        if *enough { stream.draw(indices) } else { indices.pop() }
    }

    /// How many of `units` fit into `want` tokens.
    fn fitting(units: &[Unit], want: usize) -> usize {
        let mut total = 0;
        units
            .iter()
            .take_while(|unit| {
                total += unit.tokens;
                total <= want
            })
            .count()
    }

    /// Paragraphs from the front of an unused run; a paragraph that is too long alone is cut behind a sentence.
    fn passage(
        &mut self,
        want: usize,
        chat: &ChatTokenizer,
        stream: &mut HashStream,
    ) -> Result<Option<Piece>, WorkloadError> {
        let Some(index) = Self::next(&mut self.candidates(want), stream) else {
            return Ok(None);
        };
        let Some(&segment) = self.segments.get(index) else {
            return Ok(None);
        };
        let units = self.units(segment);
        let whole = Self::fitting(units, want);
        let tokens = sum(units.get(..whole).unwrap_or_default());
        let next = units.get(whole).filter(|_| tokens * 2 < want);
        let cut = match next {
            Some(unit) => Some(cut_behind_sentence(&unit.text, want - tokens, chat)?),
            None => None,
        };
        let end = segment.start + whole + usize::from(cut.is_some());
        let mut piece = self.take(index, segment.start, end, true);
        if let (Some(piece), Some((text, tokens_of_cut))) = (&mut piece, cut) {
            piece.units.truncate(whole);
            piece.units.extend(Some(text).filter(|t| !t.is_empty()));
            piece.tokens = tokens + tokens_of_cut;
        }
        Ok(piece.filter(|p| !p.units.is_empty()))
    }

    /// The beginning of the conversation that fits best; what follows it is never used.
    fn conversation(&mut self, want: usize) -> Option<Piece> {
        // enough text first, the least waste before the most; then the largest of those that are too short
        let waste = |segment: &Segment| match segment.tokens.checked_sub(want) {
            Some(waste) => waste,
            None => usize::MAX / 2 - segment.tokens,
        };
        let (index, segment) = (0..)
            .zip(&self.segments)
            .filter(|(_, segment)| Self::fitting(self.units(**segment).get(..2).unwrap_or_default(), want) == 2)
            .min_by_key(|(_, segment)| (waste(segment), segment.record))?;
        let turns = Self::fitting(self.units(*segment), want);
        self.take(index, 0, turns, false)
    }

    /// Facts of one section, and the one that is asked for.
    fn facts(&mut self, want: usize, stream: &mut HashStream) -> Option<(Piece, Question)> {
        let mut candidates = self.candidates(want);
        while let Some(index) = Self::next(&mut candidates, stream) {
            let segment = *self.segments.get(index)?;
            let units = self.units(segment);
            let mut starts: Vec<usize> = (0..units.len()).collect();
            stream.shuffle(&mut starts);
            let chosen = starts.into_iter().find_map(|start| {
                let rest = units.get(start..)?;
                let count = Self::fitting(rest, want);
                let window = rest.get(..count)?;
                // not a few words where much is wanted, unless the section has no more
                let enough = sum(window) * 10 >= want.min(segment.tokens) * 6;
                let question = if enough { question(window, stream) } else { None };
                Some((start, start + count, question?))
            });
            if let Some((start, end, question)) = chosen {
                let piece = self.take(index, segment.start + start, segment.start + end, true)?;
                return Some((piece, question));
            }
        }
        None
    }

    /// Pieces with `want` tokens together or more, of other groups, that do not hold the answer.
    pub(crate) fn distractors(
        &mut self,
        want: usize,
        group: &str,
        answer: Option<&str>,
        stream: &mut HashStream,
    ) -> Result<Vec<Piece>, WorkloadError> {
        let answer = answer.map(str::to_lowercase);
        let mut pieces: Vec<Piece> = Vec::new();
        let mut tokens = 0;
        while tokens < want {
            let missing = want - tokens;
            let piece = self
                .one_distractor(missing, group, answer.as_deref(), stream)
                .ok_or_else(|| self.exhausted(missing, "a DISTRACTOR section"))?;
            tokens += piece.tokens;
            pieces.push(piece);
        }
        Ok(pieces)
    }

    fn one_distractor(
        &mut self,
        missing: usize,
        group: &str,
        answer: Option<&str>,
        stream: &mut HashStream,
    ) -> Option<Piece> {
        const TRIES: usize = 60;
        // a handful of words is no distractor
        let least = missing.min(100);
        let fits = |pool: &Self, index: usize, least: usize| {
            let segment = *pool.segments.get(index)?;
            let units = pool.units(segment);
            let count = (Self::fitting(units, missing) + 1).min(units.len());
            let piece = pool.piece(segment, segment.start, segment.start + count)?;
            let other = group.is_empty() || piece.group != group;
            let clean = answer
                .is_none_or(|a| !piece.text().to_lowercase().contains(a) && !piece.title.to_lowercase().contains(a));
            (segment.tokens >= least && other && clean).then_some((segment.start, segment.start + count))
        };
        let found = (0..TRIES)
            .find_map(|_| {
                let index = stream.below(self.segments.len());
                fits(self, index, least).map(|range| (index, range))
            })
            .or_else(|| (0..self.segments.len()).find_map(|i| fits(self, i, 1).map(|range| (i, range))));
        let (index, (start, end)) = found?;
        self.take(index, start, end, true)
    }
}

/// A question of these units whose answer is there exactly once.
fn question(window: &[Unit], stream: &mut HashStream) -> Option<Question> {
    let text = window
        .iter()
        .map(|u| u.text.as_str())
        .collect::<Vec<_>>()
        .join("\n")
        .to_lowercase();
    let possible: Vec<&Question> = window
        .iter()
        .filter_map(|unit| unit.question.as_ref())
        .filter(|q| text.matches(&q.answer.to_lowercase()).count() == 1)
        .collect();
    possible.get(stream.below(possible.len())).map(|q| (*q).clone())
}

/// The front of a text within `limit` tokens: up to the end of a sentence, or else of a word.
fn cut_behind_sentence(text: &str, limit: usize, chat: &ChatTokenizer) -> Result<(String, usize), WorkloadError> {
    let ends = chat.token_ends(text)?;
    let Some(&last) = ends.get(..limit.min(ends.len())).and_then(<[_]>::last) else {
        return Ok((String::new(), 0));
    };
    let room = text.get(..text.floor_char_boundary(last)).unwrap_or_default();
    let mut sentence = room
        .char_indices()
        .filter(|(_, c)| matches!(c, '.' | '!' | '?'))
        .map(|(i, c)| i + c.len_utf8());
    // a full stop ends a sentence where a space follows, perhaps behind a quotation mark
    let ends_there = |end: &usize| {
        let rest = text.get(*end..).unwrap_or_default();
        rest.trim_start_matches(['"', '\'', ')'])
            .starts_with(char::is_whitespace)
            && !room
                .get(..*end)
                .is_some_and(|s| s.ends_with("Mr.") || s.ends_with("Mrs."))
    };
    let cut = sentence.rfind(ends_there).map(|end| {
        let marks = text.get(end..).unwrap_or_default();
        end + (marks.len() - marks.trim_start_matches(['"', '\'', ')']).len())
    });
    let cut = cut
        .filter(|end| *end * 3 >= last)
        .or_else(|| room.rfind(char::is_whitespace))
        .unwrap_or(0);
    let kept = text.get(..cut).unwrap_or_default().trim_end();
    Ok((kept.to_owned(), ends.partition_point(|end| *end <= kept.len()) + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dataset(kind: Kind, groups: &[&str], units: &[(&str, usize)]) -> Dataset {
        let record = |(number, group): (usize, &&str)| Record {
            id: format!("{group}/{number}"),
            title: format!("{group} {number}"),
            group: (*group).to_owned(),
            units: units
                .iter()
                .map(|(text, tokens)| Unit {
                    text: format!("{text} {number}"),
                    tokens: *tokens,
                    question: Some(Question {
                        field: "f".to_owned(),
                        answer: format!("{text} {number}"),
                    }),
                })
                .collect(),
        };
        Dataset {
            id: "d".to_owned(),
            kind,
            records: groups.iter().enumerate().map(record).collect(),
        }
    }

    #[test]
    fn every_unit_is_taken_once() {
        let units: Vec<_> = ["a", "b", "c", "d", "e", "f"].map(|t| (t, 10)).to_vec();
        let data = dataset(Kind::Facts, &["x", "y", "z"], &units);
        let (none, mut pool) = split(&data, 0, &mut HashStream::new(1, "s"));
        assert!(none.segments.is_empty());
        let mut stream = HashStream::new(1, "t");
        let mut seen = std::collections::BTreeSet::new();
        let mut count = 0;
        while let Some((piece, question)) = pool.facts(25, &mut stream) {
            assert!(piece.text().contains(&question.answer));
            for i in 0..piece.units.len() {
                assert!(seen.insert((piece.record.clone(), piece.start + i)));
                count += 1;
            }
        }
        assert_eq!(count, 18);
        assert!(matches!(
            pool.distractors(1, "", None, &mut stream),
            Err(WorkloadError::Exhausted { .. })
        ));
    }

    #[test]
    fn a_distractor_is_of_another_group_and_without_the_answer() {
        let data = dataset(Kind::Facts, &["x", "x", "y", "z"], &[("a", 50), ("b", 50)]);
        let (_, mut pool) = split(&data, 0, &mut HashStream::new(1, "s"));
        // "a 2" is y's
        let pieces = pool
            .distractors(60, "x", Some("A 2"), &mut HashStream::new(1, "t"))
            .unwrap();
        assert!(pieces.iter().all(|p| p.group == "z"), "{pieces:?}");
        assert!(
            pool.distractors(200, "x", Some("a 2"), &mut HashStream::new(1, "t"))
                .is_err()
        );
    }

    #[test]
    fn what_is_set_aside_is_of_other_records() {
        let data = dataset(Kind::Prose, &["x", "y", "z", "u", "v"], &[("a", 10), ("b", 10)]);
        let (reserve, rest) = split(&data, 40, &mut HashStream::new(1, "s"));
        assert_eq!((reserve.segments.len(), rest.segments.len()), (2, 3));
    }

    #[test]
    fn an_answer_that_is_there_twice_is_not_asked_for() {
        let unit = |text: &str, answer: &str| Unit {
            text: text.to_owned(),
            tokens: 1,
            question: Some(Question {
                field: "f".to_owned(),
                answer: answer.to_owned(),
            }),
        };
        let window = [unit("f: Vienna", "Vienna"), unit("g: vienna, Graz", "vienna, Graz")];
        for i in 0..20 {
            let question = question(&window, &mut HashStream::new(i, "q")).unwrap();
            assert_eq!(question.answer, "vienna, Graz");
        }
    }
}
