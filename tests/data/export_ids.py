"""Exports whose ids are not what they were: zeros, digits and types that were lost."""

from export_form import ISO, LOG, ROWS, START, Export, at, ids, items, plain, table, users

IDS: dict[str, Export] = {
    "zeros lost in one file": Export(
        files={
            "1.csv": table(LOG, f"{ISO}|view|u{{u}}|000{{i}}").encode(),
            "2.csv": table(LOG, "{t:%Y-%m-%d %H:%M:%S}|view|u{u}|{i}", t=lambda n: at(n + 90)).encode(),
        },
        accepted=2 * ROWS,
        says=("zeros in front do not count",),
    ),
    "ids kept as texts for a spreadsheet": Export(
        files={
            "1.csv": table(LOG, f'{ISO}|view|u{{u}}|="00{{i}}"').encode(),
            "2.csv": table(LOG, "{t:%Y-%m-%d %H:%M:%S}|view|u{u}|00{i}", t=lambda n: at(n + 90)).encode(),
        },
        accepted=2 * ROWS,
        says=("quotes and zeros in front do not count", "ids stand in quotes"),
    ),
    "a zone in a column of its own": Export(
        files={"log.csv": table(f"{LOG},tz", f"{ISO}|view|u{{u}}|p{{i}}|Europe/Paris").encode()},
        says=("the zone of its times stands in tz (Europe/Paris), which is not read",),
    ),
    "ids in several forms": Export(
        files={
            "log.csv": table(
                LOG, f"{ISO}|view|{{x}}|p{{i}}", x=lambda n: ("Müller", "Mu\u0308ller", "MÜLLER")[n % 3] + str(n % 7)
            ).encode()
        },
        says=("case, forms of letters",),
        first=plain(START, "view", "p0"),
    ),
    "ids shown by a spreadsheet": Export(
        files={
            "log.csv": table(LOG, f"{ISO}|view|{{x}}|p{{i}}", x=lambda n: f"{1.0 + n % 30 / 1000:.5f}E+11").encode()
        },
        accepted=None,
        says=("inexact_id 60",),
        stops="inexact_id 60",
    ),
    "ids shown by a spreadsheet with decimal commas": Export(
        files={
            "log.csv": table(
                LOG,
                f"{ISO}|view|u{{u}}|{{x}}",
                ";",
                x=lambda n: f"{1.0 + n % 30 / 1000:.5f}E+11".replace(".", ",") if n % 10 == 0 else f"p{n % 7}",
            ).encode()
        },
        accepted=ROWS - 6,
        reasons={"inexact_id": 6},
        says=("inexact_id 6",),
    ),
    "such ids in JSON": Export(
        files={
            "log.jsonl": b"".join(
                f'{{"event_time":"{at(n):%Y-%m-%dT%H:%M:%S}","event_type":"view","user_id":"u{users(n)}","item_id":'
                f"{'1.23457E+11' if n % 6 == 0 else items(n)}}}\n".encode()
                for n in range(ROWS)
            )
        },
        accepted=ROWS - 10,
        reasons={"inexact_id": 10},
    ),
    "ids of which a spreadsheet kept fifteen digits": Export(
        files={"log.csv": ids("123456789{x}0").encode()},
        says=("different ones have become one",),
        stops="different ones have become one",
    ),
    "ids of which JavaScript kept seventeen digits": Export(
        files={"log.csv": ids("12345678901{x}00").encode()},
        stops="different ones have become one",
    ),
    "nanoseconds as ids, of a clock of microseconds": Export(
        files={"log.csv": ids("1767600000{x}000").encode()},
        counts={"users": 30},
    ),
    "such ids written again by pandas": Export(
        files={"log.csv": ids("{x}000000.0").replace("100000000000.0", "100011000000.0").encode()},
        says=("different ones have become one",),
        stops="different ones have become one",
    ),
    "long ids as they are": Export(
        files={
            "log.csv": table(
                f"{LOG},session_id",
                f"{ISO}|view|{{x}}|p{{i}}|{{s}}",
                x=lambda n: 1767600000000000000 + n % 30 * 7919,
                s=lambda n: int(at(n // 2).timestamp()) * 1_000_000,
            ).encode()
        },
        first=plain(START, "view", "p0"),
        counts={"users": 30, "sessions": 30},
    ),
    "a spreadsheet's errors": Export(
        files={
            "log.csv": table(
                LOG, f"{ISO}|view|u{{u}}|{{x}}", x=lambda n: "#NAME?" if n % 20 == 3 else f"p{n % 7}"
            ).encode()
        },
        accepted=ROWS - 3,
        reasons={"null_item": 3},
        says=("null_item 3",),
    ),
    "articles that became dates": Export(
        files={
            "log.csv": table(
                LOG, f"{ISO}|view|u{{u}}|{{x}}", x=lambda n: f"{1 + n % 9}-Mar" if n % 5 == 0 else f"MAR{n}"
            ).encode()
        },
        says=("look like dates that a spreadsheet made of them",),
    ),
}
