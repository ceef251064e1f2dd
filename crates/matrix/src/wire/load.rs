//! `[load]` and `[sweep]`: the loads of the matrix. Each swept value is one load, so one more cell for every variant.

use crate::{
    document::Value,
    error::{Place, Problem},
    reader::{At, Table},
    values::FromNode,
};
use servelab_schema::{Arrivals, Load, LoadId, NamedLoad, Rate, Shape};
use std::{collections::BTreeSet, num::NonZeroU32};

const NEITHER: &str = "no load; add `load.concurrency = 8` (closed loop) or `load.rate-per-s = 2.5` (open loop)";
const BOTH: &str = "a load has a concurrency (closed loop) or a rate (open loop), not both; remove one";

/// Reads the loads; none where something is wrong or nothing is given.
pub(crate) fn loads(root: &mut Table<'_>) -> Option<Vec<NamedLoad>> {
    let start = root.place.clone();
    let given = root.has("load") || root.has("sweep");
    let mut load = root.table("load");
    let mut sweep = root.table("sweep");
    let concurrency = values::<NonZeroU32>(&mut load, &mut sweep, "concurrency");
    let rate = values::<Rate>(&mut load, &mut sweep, "rate-per-s");
    let arrivals = load.as_mut().map_or(Some(None), arrivals);
    let place = load.as_ref().or(sweep.as_ref()).map_or(start, |t| t.place.clone());
    for table in [load, sweep].into_iter().flatten() {
        table.finish();
    }
    if !given {
        // A file that extends another may leave the load to it; the merged document may not.
        root.req_table("load");
        return None;
    }
    let (concurrency, rate, arrivals) = (concurrency?, rate?, arrivals?);
    let read: Vec<(Load, Place)> = match (concurrency.is_empty(), rate.is_empty()) {
        (true, true) => {
            root.refuse(&place, "load", Problem::Value(NEITHER.into()));
            return None;
        }
        (false, false) => {
            root.refuse(&place, "load", Problem::Value(BOTH.into()));
            return None;
        }
        (false, true) => {
            if let Some(a) = arrivals {
                let text =
                    "a closed loop has no arrivals; remove this key, or give `rate-per-s` in place of `concurrency`";
                root.refuse(&a.place, "load.arrivals", Problem::Value(text.into()));
                return None;
            }
            concurrency
                .into_iter()
                .map(|c| (Load::Closed { concurrency: c.value }, c.place))
                .collect()
        }
        (true, false) => {
            let arrivals = arrivals.map_or(Arrivals::Poisson, |a| a.value);
            rate.into_iter()
                .map(|r| {
                    (
                        Load::Open {
                            rate_per_s: r.value,
                            arrivals,
                        },
                        r.place,
                    )
                })
                .collect()
        }
    };
    let mut names = BTreeSet::new();
    let mut named = Vec::new();
    for (load, place) in read {
        let id = id(&load)?;
        if names.insert(id.clone()) {
            named.push(NamedLoad { id, load });
        } else {
            root.refuse(
                &place,
                "sweep",
                Problem::Value(format!("load {id} occurs twice; remove one")),
            );
            return None;
        }
    }
    Some(named)
}

/// The values of a key: those of the sweep, or the one of the load. None where one is wrong.
fn values<T: FromNode>(
    load: &mut Option<Table<'_>>,
    sweep: &mut Option<Table<'_>>,
    key: &'static str,
) -> Option<Vec<At<T>>> {
    let one = match load {
        Some(table) if table.has(key) => Some(table.opt::<T>(key)),
        Some(table) => {
            table.opt::<T>(key);
            None
        }
        None => None,
    };
    match sweep {
        Some(table) if table.has(key) => {
            let list = table.list::<T>(key)?;
            if list.is_empty() {
                let place = table.place.clone();
                table.refuse(
                    &place,
                    key,
                    Problem::Value(format!("empty; list values, such as [{}]", T::EXAMPLE)),
                );
                return None;
            }
            Some(list)
        }
        Some(table) => {
            table.list::<T>(key);
            one.map_or(Some(Vec::new()), |read| read.map(|at| vec![at]))
        }
        None => one.map_or(Some(Vec::new()), |read| read.map(|at| vec![at])),
    }
}

/// `arrivals = "poisson"`, `"constant"`, `{ gamma = { shape = 0.5 } }` or `{ burst = { size = 8 } }`.
/// The outer option is none where it is wrong, the inner one where it is absent.
fn arrivals(t: &mut Table<'_>) -> Option<Option<At<Arrivals>>> {
    let Some(entry) = t.raw("arrivals") else {
        return Some(None);
    };
    let key = t.key("arrivals");
    let at = |value| {
        Some(Some(At {
            value,
            place: entry.place.clone(),
            key: key.clone(),
        }))
    };
    let words = "write \"constant\", \"poisson\", { gamma = { shape = 0.5 } } or { burst = { size = 8 } }";
    match &entry.node.value {
        Value::Text(text) if text == "constant" => at(Arrivals::Constant),
        Value::Text(text) if text == "poisson" => at(Arrivals::Poisson),
        Value::Table(_) => {
            let mut table = t.table("arrivals")?;
            let kinds = [table.has("gamma"), table.has("burst")]
                .into_iter()
                .filter(|given| *given)
                .count();
            if kinds != 1 {
                table.refuse(
                    &entry.place,
                    "",
                    Problem::Value(format!("{kinds} arrival processes; {words}")),
                );
            }
            let gamma = table.table("gamma").map(|mut g| {
                let shape: Option<Shape> = g.value("shape");
                g.finish();
                shape.map(|shape| Arrivals::Gamma { shape })
            });
            let burst = table.table("burst").map(|mut b| {
                let size: Option<NonZeroU32> = b.value("size");
                b.finish();
                size.map(|size| Arrivals::Burst { size })
            });
            table.finish();
            if kinds != 1 {
                return None;
            }
            at(gamma.or(burst)??)
        }
        other => {
            let text = format!("{} is no arrival process; {words}", other.to_text());
            t.refuse(&entry.place, "arrivals", Problem::Value(text));
            None
        }
    }
}

/// The name of a load: `c8`, `r2.5-poisson`, `r2.5-gamma0.5`, `r2.5-burst8`.
fn id(load: &Load) -> Option<LoadId> {
    let text = match load {
        Load::Closed { concurrency } => format!("c{concurrency}"),
        Load::Open { rate_per_s, arrivals } => {
            let rate = rate_per_s.get();
            match arrivals {
                Arrivals::Constant => format!("r{rate}-constant"),
                Arrivals::Poisson => format!("r{rate}-poisson"),
                Arrivals::Gamma { shape } => format!("r{rate}-gamma{}", shape.get()),
                Arrivals::Burst { size } => format!("r{rate}-burst{size}"),
            }
        }
    };
    // Numbers of absurd length are cut; the names stay distinct or are reported as twice the same.
    LoadId::new(text.chars().take(96).collect::<String>()).ok()
}
