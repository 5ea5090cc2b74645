"""`tocsin models` and `tocsin promote`: versions of the classifier, and which one is live."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from pipeline.cli.classifiers import is_folder, model_folder, named_folder, stored_classifier
from pipeline.cli.help import described
from pipeline.cli.output import print_json, say, show
from pipeline.cli.table import print_table
from pipeline.clock import now_us
from pipeline.errors import NotFound, UsageError

if TYPE_CHECKING:
    from alerts.model_versions import ModelVersion
    from pipeline.cli.database import Database

_PROMOTE = described(
    "Make a classifier the live one. It is copied into the data folder, and a running `tocsin up` scores with it from "
    "the next slice on; every score names its version. One of which nothing was measured is refused. The version of "
    "the shipped one, or of an older one, goes back to it.",
    "tocsin promote models/mine",
    "tocsin promote 4f1b2c3d5e6a",
)

app = typer.Typer(help="List and show versions of the classifier.", no_args_is_help=True)


def register(root: typer.Typer) -> None:
    root.add_typer(app, name="models")
    root.command("promote", help=_PROMOTE)(promote)


@app.command("list", help=described("Versions that were promoted, and the live one.", "tocsin models list"))
def list_(as_json: bool = typer.Option(False, "--json", help="one JSON object a line")) -> None:
    from pipeline.cli.database import database

    with database() as db:
        found = [_facts(one) for one in _versions(db)]
    if as_json:
        print_json(*found)
        return
    print_table(
        ("version", "", "added", "promoted", "accuracy", "F1", "ECE"),
        [
            (
                one["version"],
                "live" if one["live"] else "",
                one["added_at"],
                one["promoted_at"],
                *(_figure(one["measured"], name) for name in ("accuracy", "f1", "ece")),
            )
            for one in found
        ],
    )


@app.command("show", help=described("All that is known of a version: as JSON.", "tocsin models show 4f1b2c3d5e6a"))
def show_(version: str = typer.Argument(None, help="else the live one")) -> None:
    from alerts.store import transaction
    from model import registry
    from pipeline.cli.database import database

    with database() as db:
        found = _versions(db)
        one = next((one for one in found if (one.version == version if version else one.live)), None)
        if one is None:
            raise NotFound(f"there is no version {version} of the classifier; `tocsin models list` shows all")
        with transaction(db.engine) as connection:
            folder = model_folder(db).fetch(connection, one.version)
    stored = registry.load(folder)
    print_json(
        {
            **_facts(one),
            "folder": str(folder),
            "scale": stored.calibration.scale,
            "shift": stored.calibration.shift,
            "changed_weights": len(stored.adapter.low_rank) + len(stored.adapter.whole),
            "topics": sorted(stored.description.topics),
        }
    )


def promote(
    classifier: str = typer.Argument(help="a folder, or a version as `tocsin models list` shows it"),
    without_evaluation: bool = typer.Option(False, "--without-evaluation", help="also one that nobody measured"),
) -> None:
    from alerts import model_versions
    from alerts.store import transaction
    from model import registry
    from model.measured import measured
    from pipeline.cli.database import database

    given = named_folder(classifier) if is_folder(classifier) else None  # said before a database is started
    with database() as db:
        folders = model_folder(db)
        source = given or stored_classifier(db, classifier)
        version = registry.load(source).description.version
        figures = measured(source, version)
        known = next((one.measured for one in _versions(db) if one.version == version), {})
        if not (figures or known or without_evaluation or source == registry.SHIPPED):
            raise UsageError(
                f"nothing was measured of version {version}: `tocsin train` and `tocsin calibrate` measure what they "
                "make, `tocsin evaluate` any; or say --without-evaluation"
            )
        kept = folders.add(source, db.settings.base)
        if kept.name != version:
            raise UsageError(f"{source} was made anew meanwhile, and is version {kept.name} now: promote it again")
        files = {name: (kept / name).read_bytes() for name in registry.FILES}
        with transaction(db.engine) as connection:
            model_versions.add(connection, version, figures, now_us())
            model_versions.keep_files(connection, version, files)
            model_versions.promote(connection, version, now_us())
        chosen = db.settings.model
    show(version)
    if (figures or known).get("training", {}).get("yours", {}).get("verdict") == "worse":
        say("its training found it worse than the one it began with: `tocsin promote` takes back an older version")
    if chosen is not None:
        say(f"noted as live, but TOCSIN_MODEL or the settings name {chosen}: that is what runs until they do not")


def _versions(db: Database) -> list[ModelVersion]:
    from alerts import model_versions
    from alerts.store import transaction
    from model import registry
    from model.measured import measured

    with transaction(db.engine) as connection:
        found = model_versions.versions(connection)
    shipped = registry.load().description.version
    if not any(one.version == shipped for one in found):
        live = not any(one.live for one in found)
        figures = measured(registry.SHIPPED, shipped)
        found.append(
            model_versions.ModelVersion(version=shipped, added_at=None, measured=figures, promoted_at=None, live=live)
        )
    return found


def _facts(one: ModelVersion) -> dict[str, Any]:
    return {
        "version": one.version,
        "live": one.live,
        "added_at": one.added_at and one.added_at.isoformat(timespec="seconds"),
        "promoted_at": one.promoted_at and one.promoted_at.isoformat(timespec="seconds"),
        "measured": one.measured,
    }


def _figure(measured: dict[str, Any], name: str) -> str:
    """On the held-out texts of the training that made it."""
    found = measured.get("training", {}).get("yours", {}).get("after", {}).get(name)
    return "" if found is None else f"{found:.3f}"
