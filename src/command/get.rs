//! `get pods|containers|node`: a table, or the document itself.
//!
//! ```text
//! NAMESPACE   NAME   CPU(cores)   MEMORY(working set)    RX/s    TX/s   READ/s   WRITE/s   RESTARTS   AGE
//! default     web          531m                  50Mi   1.2Mi   640Ki        0     4.0Ki          0   12m
//! ```

use std::cmp::Ordering;
use std::fmt::Write as _;
use std::io::Write;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::model::document::ContainerList;
use crate::model::document::Node;
use crate::model::document::PodList;

use super::CommandError;
use super::columns::{Column, Item, Listing, Row, Value};
use super::origin::{Origin, encoded, parse};
use super::table::{Head, printable, table};

/// What to list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Every pod of the node.
    Pods,
    /// Every container of the node.
    Containers,
    /// The node itself.
    Node,
}

/// In which form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// What fits a terminal.
    Table,
    /// All columns.
    Wide,
    /// The server's document.
    Json,
    /// The same as YAML.
    Yaml,
    /// One name a line.
    Name,
}

/// What was asked of `get`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Get {
    /// What to list.
    pub kind: Kind,
    /// Of this namespace only.
    pub namespace: Option<String>,
    /// With these labels only, as `kubectl` writes them.
    pub selector: Option<String>,
    /// In which form.
    pub output: Output,
    /// A column's title, or a dotted path into the document; with a leading `-` the largest first.
    pub sort_by: Option<String>,
    /// Again each interval.
    pub watch: bool,
    /// Titles above the columns.
    pub titles: bool,
}

/// Prints what was asked for, once, or with `watch` until the output is closed. `screen`: the output
/// is a terminal, so a table is drawn over the one before.
///
/// # Errors
/// No document, or nowhere to print it.
pub async fn get(
    request: &Get,
    origin: &Origin,
    out: &mut impl Write,
    screen: bool,
) -> Result<(), CommandError> {
    let mut shown = 0u64;
    loop {
        let (text, interval) = match request.kind {
            Kind::Pods => once::<PodList>(request, origin).await,
            Kind::Containers => once::<ContainerList>(request, origin).await,
            Kind::Node => once::<Node>(request, origin).await,
        }?;
        let table = matches!(request.output, Output::Table | Output::Wide);
        if request.watch && screen && table {
            out.write_all(redrawn(&text, shown == 0).as_bytes())?;
        } else {
            // A blank line parts one table from the next; documents and names follow each other.
            let gap = if table && shown > 0 { "\n" } else { "" };
            let part = if request.output == Output::Yaml && shown > 0 { "---\n" } else { gap };
            write!(out, "{part}{text}")?;
        }
        out.flush()?;
        if !request.watch {
            return Ok(());
        }
        shown += 1;
        tokio::time::sleep(interval).await;
    }
}

/// Over the screen before: from its top left corner, each line and the rest of the screen wiped
/// after writing, not before, so that nothing flickers.
fn redrawn(text: &str, first: bool) -> String {
    let start = if first { "\x1b[2J\x1b[H" } else { "\x1b[H" };
    format!("{start}{}\x1b[J", text.replace('\n', "\x1b[K\n"))
}

async fn once<L>(request: &Get, origin: &Origin) -> Result<(String, Duration), CommandError>
where
    L: Listing + Serialize + DeserializeOwned,
{
    let path = path::<L::Item>(request);
    let body = origin.fetch(&path).await?;
    let mut list: L = parse(&path, &body)?;
    let (now, interval) = list.moment();
    let column = request.sort_by.as_deref().and_then(|by| column::<L::Item>(by));
    if let Some((column, descending)) = column {
        sort(list.items(), now, column, descending);
    }
    let text = match request.output {
        // As the server wrote it, keys we do not know included; in another order it is ours.
        Output::Json if column.is_none() => {
            let mut text = String::from_utf8_lossy(&body).trim_end().to_owned();
            text.push('\n');
            text
        }
        Output::Json => json(&list)?,
        Output::Yaml => yaml(&list)?,
        Output::Name => names(list.items()),
        Output::Table => tabled(list.items(), now, false, request.titles),
        Output::Wide => tabled(list.items(), now, true, request.titles),
    };
    Ok((text, Duration::try_from_secs_f64(interval).unwrap_or(Duration::from_secs(1)).max(SHORTEST)))
}

/// The shortest interval there is: whatever a server says, we do not ask more often.
const SHORTEST: Duration = Duration::from_millis(100);

/// The route with its query. What is not the title of a column is a path, and the server, which
/// knows its documents, sorts by it or says what is wrong with it.
fn path<T: Item>(request: &Get) -> String {
    let route = match request.kind {
        Kind::Pods => "/api/v1/pods",
        Kind::Containers => "/api/v1/containers",
        Kind::Node => "/api/v1/node",
    };
    let by = request.sort_by.as_deref().filter(|by| column::<T>(by).is_none());
    let asked = [
        ("namespace", request.namespace.as_deref()),
        ("labelSelector", request.selector.as_deref()),
        ("sort", by),
    ];
    let query = asked.into_iter().filter_map(|(key, value)| Some(format!("{key}={}", encoded(value?))));
    let query = query.collect::<Vec<_>>().join("&");
    if query.is_empty() { route.to_owned() } else { format!("{route}?{query}") }
}

/// The column of this title, whatever the case, with or without its unit: `cpu`, `CPU(cores)`,
/// `-rx`. `true`: the largest first.
fn column<T: Item>(by: &str) -> Option<(&'static Column<T>, bool)> {
    let (by, descending) = by.strip_prefix('-').map_or((by, false), |rest| (rest, true));
    let bare = |title: &'static str| title.split(['(', '/']).next().unwrap_or(title);
    let matching = |column: &&Column<T>| {
        column.title.eq_ignore_ascii_case(by) || bare(column.title).eq_ignore_ascii_case(by)
    };
    T::COLUMNS.iter().find(matching).map(|column| (column, descending))
}

/// Items without a value stay last, whatever the direction; equals keep the server's order.
fn sort<T: Item>(items: &mut [T], now: u64, column: &Column<T>, descending: bool) {
    let directed = |order: Ordering| if descending { order.reverse() } else { order };
    let both = |a: bool, b: bool, order: Ordering| if a && b { directed(order) } else { b.cmp(&a) };
    items.sort_by(|a, b| match &column.value {
        Value::Number(value, _) => {
            let (a, b) = (value(&Row { item: a, now }), value(&Row { item: b, now }));
            both(a.is_some(), b.is_some(), a.unwrap_or_default().total_cmp(&b.unwrap_or_default()))
        }
        Value::Word(value) => {
            let (a, b) = (value(a), value(b));
            both(a.is_some(), b.is_some(), a.cmp(&b))
        }
    });
}

fn tabled<T: Item>(items: &[T], now: u64, wide: bool, titles: bool) -> String {
    let columns: Vec<&Column<T>> = T::COLUMNS.iter().filter(|column| wide || !column.wide).collect();
    let right = |column: &Column<T>| matches!(column.value, Value::Number(..));
    let heads: Vec<Head> =
        columns.iter().map(|column| Head { title: column.title, right: right(column) }).collect();
    let cells = |item| columns.iter().map(|column| column.cell(&Row { item, now })).collect();
    let rows: Vec<Vec<String>> = items.iter().map(cells).collect();
    table(&heads, &rows, titles)
}

fn names<T: Item>(items: &[T]) -> String {
    items.iter().fold(String::new(), |mut text, item| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{}", printable(&item.name()));
        text
    })
}

/// One document on one line, so that a watch is newline-delimited JSON.
pub(super) fn json(document: &impl Serialize) -> Result<String, CommandError> {
    let text = serde_json::to_string(document);
    text.map(|text| text + "\n").map_err(|source| CommandError::Form { form: "json", source: source.into() })
}

/// As `-o yaml` has it.
pub(super) fn yaml(document: &impl Serialize) -> Result<String, CommandError> {
    let text = serde_saphyr::to_string(document);
    text.map_err(|source| CommandError::Form { form: "yaml", source: source.into() })
}

#[cfg(test)]
#[path = "get_tests.rs"]
mod tests;
