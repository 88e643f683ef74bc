//! The screen: a table of regions, and the consumers of the selected one.

use super::columns::{self, COLUMNS, Order};
use crate::rates::Sample;
use crate::show;
use ratatui::Frame;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::layout::{Alignment, Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Text};
use ratatui::widgets::{Block, Borders, Cell, Paragraph, Row, Table, TableState};
use shm2::discovery::ConsumerOverview;
use std::path::PathBuf;
use std::time::Duration;

/// Age from which a region counts as silent.
const SILENT: Duration = Duration::from_secs(2);
const HELP: &str = "q quit  up/down select  Enter consumers  sort: n r a b c l d, twice for reverse";

/// What follows a key.
#[derive(Debug, PartialEq, Eq)]
pub enum After {
    Draw,
    Quit,
}

pub struct View {
    samples: Vec<Sample>,
    order: Order,
    is_reversed: bool,
    /// By its path: the order may change.
    selected: Option<PathBuf>,
    shows_consumers: bool,
    interval: Duration,
    has_colour: bool,
    table: TableState,
}

impl View {
    pub fn new(interval: Duration, has_colour: bool) -> Self {
        Self {
            samples: Vec::new(),
            order: Order::Name,
            is_reversed: false,
            selected: None,
            shows_consumers: true,
            interval,
            has_colour,
            table: TableState::new(),
        }
    }

    /// Takes the newest figures.
    pub fn set(&mut self, samples: Vec<Sample>) {
        self.samples = samples;
        self.sort();
    }

    pub fn key(&mut self, key: KeyEvent) -> After {
        if key.kind == KeyEventKind::Release {
            return After::Draw;
        }
        let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('q') | KeyCode::Esc => return After::Quit,
            KeyCode::Char('c') if is_control => return After::Quit,
            KeyCode::Up | KeyCode::Char('k') => self.select(-1),
            KeyCode::Down | KeyCode::Char('j') => self.select(1),
            KeyCode::PageUp => self.select(-10),
            KeyCode::PageDown => self.select(10),
            KeyCode::Enter => self.shows_consumers = !self.shows_consumers,
            KeyCode::Char(key) => {
                if let Some(order) = Order::of_key(key) {
                    self.is_reversed = order == self.order && !self.is_reversed;
                    self.order = order;
                    self.sort();
                }
            }
            _ => {}
        }
        After::Draw
    }

    pub fn draw(&mut self, frame: &mut Frame) {
        let pane = if self.shows_consumers { 8 } else { 0 };
        let rows = [Constraint::Length(1), Constraint::Min(4), Constraint::Length(pane), Constraint::Length(1)];
        let [title, table, consumers, help] = Layout::vertical(rows).areas(frame.area());
        let count = self.samples.len();
        let plural = if count == 1 { "" } else { "s" };
        let text = format!("shm2 top  {count} region{plural}, every {}", show::time(self.interval));
        frame.render_widget(Line::styled(text, Modifier::BOLD), title);
        self.draw_regions(frame, table);
        if self.shows_consumers {
            self.draw_consumers(frame, consumers);
        }
        frame.render_widget(Line::styled(HELP, Modifier::DIM), help);
    }

    fn sort(&mut self) {
        self.samples.sort_by(|a, b| self.order.compare(a, b));
        if self.is_reversed {
            self.samples.reverse();
        }
    }

    fn selected(&self) -> Option<usize> {
        let of = |path: &PathBuf| self.samples.iter().position(|sample| sample.region.path == *path);
        self.selected.as_ref().and_then(of).or((!self.samples.is_empty()).then_some(0))
    }

    fn select(&mut self, step: isize) {
        let last = self.samples.len().saturating_sub(1);
        let index = self.selected().unwrap_or(0).saturating_add_signed(step).min(last);
        self.selected = self.samples.get(index).map(|sample| sample.region.path.clone());
    }

    fn colour(&self, is_shown: bool, colour: Color) -> Style {
        let style = Style::new();
        if !is_shown {
            style
        } else if self.has_colour {
            style.fg(colour)
        } else {
            style.add_modifier(Modifier::BOLD)
        }
    }

    fn draw_regions(&mut self, frame: &mut Frame, area: Rect) {
        if self.samples.is_empty() {
            frame.render_widget(Paragraph::new("\nNo region has a live producer.").alignment(Alignment::Center), area);
            return;
        }
        let header = COLUMNS.iter().enumerate().map(|(column, (title, _))| {
            let style = Style::new().add_modifier(Modifier::BOLD);
            let is_order = column == self.order.column();
            Cell::new(aligned(column, title.to_string())).style(if is_order {
                style.add_modifier(Modifier::UNDERLINED)
            } else {
                style
            })
        });
        let rows: Vec<_> = self.samples.iter().map(|sample| self.row(sample)).collect();
        let widths = COLUMNS.map(|(_, width)| match width {
            0 => Constraint::Min(12),
            width => Constraint::Length(width as u16),
        });
        let table = Table::new(rows, widths).header(Row::new(header)).row_highlight_style(Modifier::REVERSED);
        self.table.select(self.selected());
        frame.render_stateful_widget(table, area, &mut self.table);
    }

    fn row(&self, sample: &Sample) -> Row<'static> {
        let is_silent = sample.region.age.is_some_and(|age| age > SILENT);
        let is_dropping = sample.rates.dropped.is_some_and(|rate| rate > 0.0);
        Row::new(columns::cells(sample).into_iter().enumerate().map(|(column, text)| {
            let style = match column {
                2 => self.colour(is_silent, Color::Yellow),
                6 => self.colour(is_dropping, Color::Red),
                _ => Style::new(),
            };
            Cell::new(aligned(column, text)).style(style)
        }))
    }

    fn draw_consumers(&self, frame: &mut Frame, area: Rect) {
        let Some(sample) = self.selected().and_then(|index| self.samples.get(index)) else { return };
        let region = &sample.region;
        let title = format!("{}, producer {} ", region.uri(), region.producer_pid);
        let block = Block::new().borders(Borders::TOP).title(title);
        let most = usize::from(area.height.saturating_sub(2));
        let rows = region.consumers.iter().take(most).map(consumer);
        let header = ["PAGE", "PID", "LAG", "HELD", "BYTES", "RECEIVED", "MISSED", "SKIPPED", "COPIED"];
        if region.consumers.is_empty() {
            let text = "No leasing consumer. Snapshot consumers leave no trace.";
            frame.render_widget(Paragraph::new(text).block(block), area);
            return;
        }
        let more = region.consumers.len().saturating_sub(most);
        let block = if more > 0 { block.title_bottom(format!("and {more} more")) } else { block };
        let widths = [4, 8, 6, 4, 10, 10, 9, 9, 9].map(Constraint::Length);
        let header = Row::new(header.map(right)).style(Modifier::BOLD);
        frame.render_widget(Table::new(rows, widths).header(header).block(block), area);
    }
}

fn consumer(consumer: &ConsumerOverview) -> Row<'static> {
    let lag = if consumer.next.is_some() { consumer.lag.to_string() } else { "ended".into() };
    Row::new([
        right(consumer.page.to_string()),
        right(consumer.pid.to_string()),
        right(lag),
        right(consumer.held.to_string()),
        right(show::bytes(consumer.held_bytes)),
        right(consumer.received.to_string()),
        right(consumer.missed.to_string()),
        right(consumer.skipped.to_string()),
        right(consumer.copied.to_string()),
    ])
}

fn right(text: impl Into<String>) -> Text<'static> {
    Text::from(text.into()).alignment(Alignment::Right)
}

/// Names and streams begin at the left, figures end at the right.
fn aligned(column: usize, text: String) -> Text<'static> {
    if matches!(column, 0 | 7) { Text::from(text) } else { right(text) }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use crate::rates::Sampler;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use shm2::{Access, Consumer, FrameInfo, Producer};
    use shm2_testing::TempRegion;

    struct Screen {
        terminal: Terminal<TestBackend>,
        view: View,
    }

    impl Screen {
        fn new(has_colour: bool) -> Self {
            let terminal = Terminal::new(TestBackend::new(80, 24)).expect("a screen");
            Self { terminal, view: View::new(Duration::from_secs(1), has_colour) }
        }

        fn lines(&mut self) -> Vec<String> {
            self.terminal.draw(|frame| self.view.draw(frame)).expect("a drawing");
            let buffer = self.terminal.backend().buffer();
            let line = |row: &[ratatui::buffer::Cell]| row.iter().map(|cell| cell.symbol()).collect::<String>();
            buffer.content().chunks(80).map(line).map(|line| line.trim_end().to_owned()).collect()
        }

        fn press(&mut self, code: KeyCode) -> After {
            self.view.key(KeyEvent::new(code, KeyModifiers::NONE))
        }

        fn names(&mut self) -> Vec<String> {
            let rows = self.lines().into_iter().skip(2).take(2);
            rows.filter_map(|line| line.split_whitespace().next().map(str::to_owned)).collect()
        }

        fn has_colour(&self) -> bool {
            self.terminal.backend().buffer().content().iter().any(|cell| cell.fg != Color::Reset)
        }
    }

    fn region(folder: &TempRegion, name: &str, caps: &str) -> Producer {
        let name = format!("{}/{name}", &**folder);
        let mut producer = Producer::builder(&name).expect("a name").size(8 << 20).create().expect("a region");
        producer.set_caps(caps.as_bytes()).expect("caps");
        producer.send(&[7; 144], &FrameInfo::new()).expect("a frame");
        producer
    }

    #[test]
    fn regions_and_the_consumers_of_the_selected_one_fit_80_by_24() {
        let folder = TempRegion::new();
        std::fs::create_dir(folder.path()).unwrap();
        let mut camera = region(&folder, "camera", "video/x-raw, format=I420, width=1280, height=720, framerate=30/1");
        let _long = region(
            &folder,
            "a-name-that-is-longer-than-its-column",
            "audio/x-raw, format=S16LE, rate=48000, channels=2, layout=interleaved",
        );
        let name = format!("{}/camera", &*folder);
        let _consumer = Consumer::builder(&name).unwrap().access(Access::Lease).attach(None).unwrap();
        let (mut sampler, mut screen) = (Sampler::new(&[folder.path().into()]), Screen::new(true));
        screen.view.set(sampler.sample());
        camera.send(&[8; 144], &FrameInfo::new()).unwrap();
        screen.view.set(sampler.sample());

        let lines = screen.lines();
        assert_eq!(lines[0], "shm2 top  2 regions, every 1.0 s");
        assert_eq!(lines[1], "REGION              RATE     AGE    MB/S CONS   LAG DROP/S STREAM");
        assert!(lines[2].starts_with("a-name-that-is-l "), "{}", lines[2]);
        assert!(lines[3].starts_with("camera ") && lines[3].ends_with(" 0.0 I420 1280x720 30/s"), "{}", lines[3]);
        assert_eq!(lines[3].split_whitespace().nth(4), Some("1"), "{}", lines[3]);
        assert!(lines[15].contains("/a-name-that-is-longer-than-its-column"), "{}", lines[15]);
        assert_eq!(lines[16], "No leasing consumer. Snapshot consumers leave no trace.");
        assert_eq!(lines[23], HELP);

        assert_eq!(screen.press(KeyCode::Down), After::Draw);
        let lines = screen.lines();
        assert!(lines[15].contains("/camera, producer "), "{}", lines[15]);
        let figures: Vec<_> = lines[17].split_whitespace().collect();
        assert_eq!(figures[..4], ["0", &std::process::id().to_string(), "2", "0"], "{}", lines[17]);

        screen.press(KeyCode::Enter);
        assert!(!screen.lines()[15].contains("producer"), "{}", screen.lines()[15]);
    }

    #[test]
    fn keys_sort_reverse_and_quit() {
        let folder = TempRegion::new();
        std::fs::create_dir(folder.path()).unwrap();
        let (_a, mut b) = (region(&folder, "a", "text/plain"), region(&folder, "b", "text/plain"));
        let (mut sampler, mut screen) = (Sampler::new(&[folder.path().into()]), Screen::new(false));
        assert_eq!(screen.lines()[2], "                         No region has a live producer.");
        screen.view.set(sampler.sample());
        b.send(&[1; 9], &FrameInfo::new()).unwrap();
        screen.view.set(sampler.sample());
        assert_eq!(screen.names(), ["a", "b"]);
        screen.press(KeyCode::Char('r'));
        assert_eq!(screen.names(), ["b", "a"]);
        screen.press(KeyCode::Char('r'));
        assert_eq!(screen.names(), ["a", "b"]);
        screen.press(KeyCode::Char('n'));
        screen.press(KeyCode::Char('n'));
        assert_eq!(screen.names(), ["b", "a"]);
        assert!(!screen.has_colour());
        assert_eq!(screen.press(KeyCode::Char('q')), After::Quit);
        assert_eq!(screen.view.key(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL)), After::Quit);
    }
}
