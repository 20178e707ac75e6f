"""Tables: one content in four forms."""

from __future__ import annotations

import argparse
import csv
import json
import math

import pytest

from streambench.tables import FORMATS, Cell, Column, add_format_option, figure, render

COLUMNS = [
    Column(name='method', head='method', left=True),
    Column(name='sojourn_p50_s', head='sojourn p50'),
    Column(name='sojourn_n'),
    Column(head='p95'),
]
ROWS: list[list[object]] = [
    ['default', Cell(0.06123456789, '61.2 ms'), 300, '70 ms'],
    ['a|b', None, 3, None],
]


def test_for_eyes() -> None:
    """Headings and rounded cells, words to the left, notes below; no column for programs."""
    assert render(COLUMNS, ROWS, notes=['measured twice']) == (
        'method   sojourn p50    p95\n'
        'default      61.2 ms  70 ms\n'
        'a|b                –      –\n'
        '\n'
        'measured twice'
    )


def test_for_programs() -> None:
    """JSON and CSV hold raw values under the names of columns, nothing that is for eyes only."""
    assert json.loads(render(COLUMNS, ROWS, form='json', notes=['measured twice'])) == {
        'rows': [
            {'method': 'default', 'sojourn_p50_s': 0.06123456789, 'sojourn_n': 300},
            {'method': 'a|b', 'sojourn_p50_s': None, 'sojourn_n': 3},
        ],
        'notes': ['measured twice'],
    }
    assert list(csv.reader(render(COLUMNS, ROWS, form='csv').splitlines())) == [
        ['method', 'sojourn_p50_s', 'sojourn_n'],
        ['default', '0.06123456789', '300'],
        ['a|b', '', '3'],
    ]


def test_for_a_page() -> None:
    """Markdown has a ruler that says the sides, and bars in cells don't end them."""
    assert render(COLUMNS, ROWS, form='md', notes=['measured twice']) == (
        '| method | sojourn p50 | p95 |\n'
        '| --- | ---: | ---: |\n'
        '| default | 61.2 ms | 70 ms |\n'
        '| a\\|b | – | – |\n'
        '\n'
        '- measured twice'
    )


@pytest.mark.parametrize('form', FORMATS)
def test_no_row_is_a_table_too(form: str) -> None:
    """Without rows there are the headings, or an empty list."""
    text = render(COLUMNS, [], form=form)
    assert json.loads(text)['rows'] == [] if form == 'json' else text.startswith(('method', '| method'))


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_what_json_does_not_know_is_absent(value: float) -> None:
    """NaN and infinity would make the output unreadable."""
    columns = [Column(name='x', head='x')]
    assert json.loads(render(columns, [[value]], form='json'))['rows'] == [{'x': None}]
    assert list(csv.reader(render(columns, [[value]], form='csv').splitlines())) == [['x'], ['']]


def test_a_cell_can_not_talk_to_the_terminal() -> None:
    """Escapes and line ends from a file become blanks where eyes read, and stay for programs."""
    columns = [Column(name='x', head='x', left=True)]
    assert render(columns, [['a\x1b[2Jb\nc']]) == 'x\na [2Jb c'
    assert json.loads(render(columns, [['a\nb']], form='json'))['rows'] == [{'x': 'a\nb'}]


@pytest.mark.parametrize(
    ('value', 'digits', 'text'),
    [
        (12934.6, 4, '12935'),
        (1015.2, 3, '1015'),
        (-123456.0, 3, '-123456'),
        (0.5, 4, '0.5'),
        (119.32, 4, '119.3'),
        (2.932e-05, 4, '0.00002932'),
        (2e-05, 4, '0.00002'),
        (0.0, 4, '0'),
        (math.nan, 4, 'nan'),
        (math.inf, 4, 'inf'),
    ],
)
def test_no_figure_is_a_power_of_ten(value: float, digits: int, text: str) -> None:
    """A person reads digits, be a figure large or small."""
    assert figure(value, digits) == text
    assert render([Column(head='x')], [[value]]).splitlines()[1].strip() == figure(value, 4)


def test_the_option() -> None:
    """`--format` takes the four forms."""
    parser = argparse.ArgumentParser()
    add_format_option(parser)
    assert parser.parse_args([]).format == 'table'
    assert [parser.parse_args(['--format', form]).format for form in FORMATS] == list(FORMATS)


def test_words_are_folded_where_somebody_looks() -> None:
    """A table wider than its reader's terminal has its words in lines of their own, and loses none."""
    columns = [
        Column(name='name', head='name', left=True),
        Column(name='n', head='n'),
        Column(name='what', head='what it is', left=True),
    ]
    long = 'a sentence that is much longer than half of the line that it is to stand in'
    rows = [['first', 12, long], ['second', 3, 'short'], ['third', 4, '']]
    text = render(columns, rows, width=50)
    assert max(map(len, text.splitlines())) <= 50
    assert [line[0] != ' ' for line in text.splitlines()] == [True, True, False, False, True, True]
    assert sorted(text.split()) == sorted(render(columns, rows).split())
    assert render(columns, rows, width=200) == render(columns, rows)
    assert render(columns, rows, form='md', width=50) == render(columns, rows, form='md')
    # What has no room at all is too wide, and whole.
    assert 'sentence' in render(columns, rows, width=5)


def test_a_table_of_figures_is_turned_where_that_fits() -> None:
    """Few rows of many figures get a column each in a narrow terminal, and a row in a wide one."""
    columns = [
        Column(name='method', head='method', left=True),
        *(Column(name=f'f{n}', head=f'figure {n}') for n in range(8)),
    ]
    rows = [[name, *(f'{n}.5 ms' for n in range(8))] for name in ('default', 'proxy')]
    text = render(columns, rows, width=60)
    assert text.splitlines()[:3] == [
        'method    default   proxy',
        'figure 0   0.5 ms  0.5 ms',
        'figure 1   1.5 ms  1.5 ms',
    ]
    assert render(columns, rows, width=120) == render(columns, rows)
    assert render(columns, rows * 9, width=60) == render(columns, rows * 9)
