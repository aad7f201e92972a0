import csv
import os
import re
import shutil
from urllib.error import URLError

import numpy as np
import pytest
import soundfile
import torchaudio

from tests.conftest import PROMPTS, ROOT
from wavenet.data import DatasetError, Licence, Origin, prepare, split
from wavenet.data.folder import Folder
from wavenet.data.ljspeech import LJSpeech
from wavenet.data.prompts import Prompts
from wavenet.data.vctk import VCTK


def reasons(scan):
    return {skipped.name: skipped.reason for skipped in scan.skipped}


def test_the_included_corpus():
    scan = Prompts().scan()
    assert len(scan.utterances) == 240
    assert scan.skipped == []
    assert {u.conditions["speaker"] for u in scan.utterances} == {"allison", "carlo", "ivrvoice", "june"}
    assert scan.utterances[0].conditions == {"speaker": "allison", "language": "en-US", "gender": "F"}
    assert (ROOT / "data" / "prompts" / "LICENSE.txt").is_file()


def test_an_index_that_names_a_missing_file(tmp_path):
    shutil.copy(PROMPTS / "index.csv", tmp_path)
    (tmp_path / "june").mkdir()
    shutil.copy(PROMPTS / "june" / "june_001.flac", tmp_path / "june")
    scan = Prompts(tmp_path).scan()
    assert [u.id for u in scan.utterances] == ["june/june_001"]
    assert len(scan.skipped) == 239
    assert "no such file" in scan.skipped[0].reason
    (tmp_path / "index.csv").unlink()
    with pytest.raises(DatasetError, match=r"index\.csv: cannot be read \(No such file"):
        Prompts(tmp_path).scan()


@pytest.mark.parametrize("below", ["", "VCTK-Corpus-0.92"])
def test_vctk_names_its_known_faults(vctk, below):
    scan = VCTK(vctk / below).scan()
    assert {u.conditions["speaker"] for u in scan.utterances} == {"p225", "p362", "s5"}
    assert {u.id for u in scan.utterances} >= {"s5/s5_001", "p225/p225_003"}
    assert all(u.path.name.endswith("_mic2.flac") for u in scan.utterances)
    named = reasons(scan)
    assert set(named) == {f"{p}/{p}_{n:03d}" for p in ("p280", "p315") for n in (1, 2, 3)} | {"p362/p362_004"}
    assert named["p280/p280_001"] == named["p315/p315_001"] == "no recording of mic2; dataset.mic=mic1 has one"
    assert named["p362/p362_004"] == "there is a text, but no recording"


def test_vctk_first_microphone(vctk):
    scan = VCTK(vctk, mic="mic1").scan()
    assert {u.conditions["speaker"] for u in scan.utterances} == {"p225", "p280", "p315", "p362"}
    assert reasons(scan)["s5/s5_001"] == "no recording of mic1; dataset.mic=mic2 has one"
    with pytest.raises(DatasetError, match="dataset.mic is 'mic3'; VCTK has mic1 and mic2"):
        VCTK(vctk, mic="mic3")


def test_vctk_of_version_0_80(tmp_path, speech):
    for speaker in ("p225", "p226"):
        folder = tmp_path / "VCTK-Corpus" / "wav48" / speaker
        folder.mkdir(parents=True)
        for number, source in enumerate(sorted((speech / "june").iterdir()), start=1):
            samples, rate = soundfile.read(source)
            soundfile.write(folder / f"{speaker}_{number:03d}.wav", samples, rate)
    texts = tmp_path / "VCTK-Corpus" / "txt" / "p225"
    texts.mkdir(parents=True)
    (texts / "p225_009.txt").write_text("Lost.")
    scan = VCTK(tmp_path).scan()
    assert len(scan.utterances) == 8
    assert scan.utterances[0].id == "p225/p225_001"
    assert reasons(scan) == {"p225/p225_009": "there is a text, but no recording"}


def test_ljspeech(tmp_path, speech):
    (tmp_path / "LJSpeech-1.1" / "wavs").mkdir(parents=True)
    samples, rate = soundfile.read(speech / "june" / "june_001.flac")
    soundfile.write(tmp_path / "LJSpeech-1.1" / "wavs" / "LJ001-0001.wav", samples, rate)
    for root in (tmp_path, tmp_path / "LJSpeech-1.1"):
        scan = LJSpeech(root).scan()
        assert [(u.id, u.conditions) for u in scan.utterances] == [("LJ001-0001", {"speaker": "LJ"})]


@pytest.mark.parametrize(("dataset", "name"), [(VCTK, "vctk"), (LJSpeech, "ljspeech")])
def test_a_missing_corpus_names_the_command_that_downloads_it(tmp_path, dataset, name):
    with pytest.raises(DatasetError) as error:
        dataset(tmp_path).scan()
    assert f"python scripts/train.py dataset={name} dataset.root={tmp_path} dataset.download=true" in str(error.value)


@pytest.mark.parametrize(("dataset", "name", "corpus"), [(VCTK, "VCTK_092", "vctk"), (LJSpeech, "LJSPEECH", None)])
def test_downloads_go_through_torchaudio(tmp_path, monkeypatch, vctk, dataset, name, corpus):
    """torchaudio's own class is called for the download; here it is replaced by a copy of a corpus."""
    calls = []

    def fetch(root, download):
        calls.append((str(root), download))
        if corpus:
            shutil.copytree(vctk, root, dirs_exist_ok=True)
        else:
            (tmp_path / "new" / "LJSpeech-1.1" / "wavs").mkdir(parents=True)
            shutil.copy(PROMPTS / "june" / "june_001.flac", tmp_path / "new" / "LJSpeech-1.1" / "wavs")

    monkeypatch.setattr(torchaudio.datasets, name, fetch)
    scan = dataset(tmp_path / "new", download=True).scan()
    assert calls == [(str(tmp_path / "new"), True)]
    assert scan.utterances


@pytest.mark.parametrize(("dataset", "name"), [(VCTK, "VCTK_092"), (LJSpeech, "LJSPEECH")])
@pytest.mark.parametrize("error", [URLError("no network"), RuntimeError("invalid hash value")])
def test_a_download_that_fails(tmp_path, monkeypatch, dataset, name, error):
    def fail(root, download):
        raise error

    monkeypatch.setattr(torchaudio.datasets, name, fail)
    with pytest.raises(DatasetError, match=r"the download failed \(.*(no network|invalid hash).*run the same command"):
        dataset(tmp_path, download=True).scan()


def test_folder_with_and_without_speakers(tmp_path, speech):
    scan = Folder(speech, speakers_from_folders=True).scan()
    assert {u.conditions["speaker"] for u in scan.utterances} == {"allison", "carlo", "june"}
    assert scan.utterances[0].id == "allison/allison_001.flac"
    assert {u.conditions["speaker"] for u in Folder(speech).scan().utterances} == {speech.name}


def test_folder_ignores_other_files_and_does_not_loop(tmp_path):
    (tmp_path / "notes.txt").write_text("not audio")
    (tmp_path / ".hidden.wav").write_bytes(b"")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "x.wav").write_bytes(b"")
    (tmp_path / "loop").symlink_to(tmp_path)
    with pytest.raises(DatasetError, match="no audio files below it .* others; loop: a link to a folder, which is not"):
        Folder(tmp_path).scan()
    soundfile.write(tmp_path / "Ünïcode\n.WAV", np.ones(800) * 0.1, 8000, format="WAV")
    scan = Folder(tmp_path).scan()
    assert len(scan.utterances) == 1
    assert reasons(scan) == {"loop": "a link to a folder, which is not followed; move the folder here"}


def test_folder_errors(tmp_path):
    with pytest.raises(DatasetError, match=r"dataset\.root=PATH"):
        Folder()
    with pytest.raises(DatasetError, match="nowhere: no such folder"):
        Folder(tmp_path / "nowhere")
    shutil.copy(PROMPTS / "june" / "june_001.flac", tmp_path)
    with pytest.raises(DatasetError, match=r"june_001\.flac: is not in a speaker's folder"):
        Folder(tmp_path, speakers_from_folders=True).scan()


@pytest.fixture
def tones(tmp_path):
    for name in ("a.wav", "in/b.wav", "in/c.wav", "Zoë/d.wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        soundfile.write(tmp_path / name, np.sin(np.arange(800)) * 0.1, 8000)
    return tmp_path


def test_an_index_may_contain_impossible_file_names(tones):
    names = ["a.wav", "x" * 300 + ".wav", "nul\0.wav", "in", '"two\nlines.wav"']
    (tones / "index.csv").write_text("file\n" + "\n".join(names) + "\n")
    scan = Folder(tones).scan()
    assert [u.id for u in scan.utterances] == ["a.wav"]
    missing = {name: reason for name, reason in reasons(scan).items() if reason.startswith("is in index.csv, but ")}
    assert list(missing) == [name.strip('"') for name in names[1:]]


def test_the_index_of_the_prompts_follows_the_same_rules(tmp_path):
    (tmp_path / "index.csv").write_text("file,speaker\na.flac,x\n./a.flac,y\n")
    with pytest.raises(DatasetError, match=r"index\.csv, line 3: 'a\.flac' is listed twice"):
        Prompts(tmp_path).scan()


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_folder_with_an_index(tones, mark, end):
    lines = ["file,instrument, language", 'a.wav,"flute, alto",', "./in/b.wav, oboe ,de", "", "no.wav,oboe,it"]
    lines += ["Zoë/d.wav,flöte,de"]
    (tones / "index.csv").write_bytes(mark + end.join(lines).encode())
    scan = Folder(tones).scan()
    assert {u.id: u.conditions for u in scan.utterances} == {
        "a.wav": {"speaker": tones.name, "instrument": "flute, alto"},
        "in/b.wav": {"speaker": tones.name, "instrument": "oboe", "language": "de"},
        "Zoë/d.wav": {"speaker": tones.name, "instrument": "flöte", "language": "de"},
    }
    assert all(u.path == tones / u.id for u in scan.utterances)
    assert reasons(scan) == {
        "no.wav": "is in index.csv, but there is no such file",
        "in/c.wav": "is not in index.csv; add it, or remove the table",
    }
    corpus = prepare(Folder(tones), 8000, tones / "cache", progress=False)
    assert corpus.values("instrument") == ["flute, alto", "flöte", "oboe"]
    with pytest.raises(DatasetError, match=r"no language for a\.wav"):
        corpus.values("language")


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_an_index_as_other_programs_write_it(tones, delimiter):
    lines = [["Speaker", " FILE", "Instrument"], ["ann", r"in\b.wav", "oboe, low; high"], ["bob", r".\a.wav", ""]]
    with (tones / "index.csv").open("w", newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows(lines)
    assert {u.id: u.conditions for u in Folder(tones).scan().utterances} == {
        "in/b.wav": {"speaker": "ann", "Instrument": "oboe, low; high"}, "a.wav": {"speaker": "bob"}
    }  # fmt: skip


def test_a_backslash_may_be_part_of_a_name(tones):
    (tones / "a.wav").rename(tones / r"in\a.wav")
    (tones / "index.csv").write_text("file,speaker\nin\\a.wav,ann\n")
    (utterance,) = Folder(tones).scan().utterances
    assert utterance.id == r"in\a.wav"


def test_the_indexs_speakers_take_precedence_over_the_folders(tones):
    (tones / "index.csv").write_text("speaker,file\nann,a.wav\nbob,in/b.wav\n,in/c.wav\n")
    scan = Folder(tones, speakers_from_folders=True).scan()
    assert {u.id: u.conditions["speaker"] for u in scan.utterances} == {
        "a.wav": "ann", "in/b.wav": "bob", "in/c.wav": "in"
    }  # fmt: skip
    assert {u.conditions["speaker"] for u in Folder(tones).scan().utterances} == {"ann", "bob", tones.name}


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (b"", r"line 1: one column must be 'file'.*the columns are none"),
        (b"name,speaker\na.wav,ann\n", r"line 1: one column must be 'file'.*the columns are name, speaker"),
        (b"file,x,x\n", r"line 1: two columns are named 'x'"),
        (b"file,x,\n", r"line 1: two columns are named '', or one has no name"),
        (b"file,x\na.wav,1\nin/b.wav\n", r"line 3: 1 values for 2 columns"),
        (b"file,x\na.wav,1,2\n", r"line 2: 3 values for 2 columns; .*in quotes if it has the separator"),
        (b"file;x\n..\\a.wav;1\n", r"line 2: file is '\.\./a\.wav'; give a path inside the folder"),
        (b"path;who\na.wav;ann\n", r"line 1: one column must be 'file'.*the columns are path;who"),
        (b'file,x\na.wav,"1\n', r"line 2: .*fix the quotes"),
        (b"file,x\n\n,1\n", r"line 3: file is ''; give a path inside the folder"),
        (b"file,x\n../a.wav,1\n", r"line 2: file is '\.\./a\.wav'; give a path inside the folder"),
        (b"file,x\n/a.wav,1\n", r"line 2: file is '/a\.wav'"),
        (b"file,x\na.wav,1\n./a.wav,2\n", r"line 3: 'a\.wav' is listed twice"),
        (b"file,x\na.wav,1\nin/b.wav,fl\xf6te\n", r"line 3: not UTF-8; save the table as UTF-8"),
        (b"file,x\nno.wav,1\n", r": none of the 1 files that it lists exists"),
    ],
)
def test_a_malformed_index_is_named(tones, table, message):
    (tones / "index.csv").write_bytes(table)
    with pytest.raises(DatasetError, match=r"index\.csv(, |)" + message):
        Folder(tones).scan()


def test_every_utterance_is_of_its_speaker(tmp_path, vctk):
    """Every prepared utterance equals its speaker's recording sample for sample."""
    corpus = prepare(VCTK(vctk), 48000, tmp_path, progress=False)
    for index, utterance in enumerate(corpus.utterances):
        speaker, name = utterance.id.split("/")
        assert utterance.conditions == {"speaker": speaker}
        source = vctk / "VCTK-Corpus-0.92" / "wav48_silence_trimmed" / speaker / f"{name}_mic2.flac"
        assert np.array_equal(corpus.read(index).numpy(), soundfile.read(source, dtype="float32")[0])
    assert os.listdir(tmp_path) == ["vctk-48000Hz"]


def test_licences_of_the_included_corpus_are_those_of_its_files():
    text = " ".join((PROMPTS / "LICENSE.txt").read_text().split())
    licences = Prompts().scan().origin.licences
    assert len(licences) == 4
    for licence in licences:
        corpus, speaker, notice = re.split(r", |: ", licence.attribution, maxsplit=2)
        assert corpus == "Asterisk core sounds"
        assert f"{speaker} {notice} {licence.name}" in text
    assert sum(text.count(f"{who} (c)") for who in ("allison", "june", "carlo", "ivrvoice")) == 4


def test_licences_of_a_part_of_it(tmp_path):
    shutil.copy(PROMPTS / "index.csv", tmp_path)
    (tmp_path / "june").mkdir()
    shutil.copy(PROMPTS / "june" / "june_001.flac", tmp_path / "june")
    assert Prompts(tmp_path).scan().origin.licences == (Licence("CC-BY-SA-3.0"),)
    shutil.copy(PROMPTS / "LICENSE.txt", tmp_path)
    (licence,) = Prompts(tmp_path).scan().origin.licences
    assert "June Wallack" in licence.attribution and "Allison" not in licence.attribution


def test_licences_of_corpora(vctk, speech, tmp_path):
    origin = VCTK(vctk).scan().origin
    assert [licence.name for licence in origin.licences] == ["CC-BY-4.0"] and origin.hub == "CSTR-Edinburgh/vctk"
    older = tmp_path / "VCTK-Corpus" / "wav48" / "p225"
    older.mkdir(parents=True)
    (tmp_path / "LJSpeech-1.1" / "wavs").mkdir(parents=True)
    for folder in (older, tmp_path / "LJSpeech-1.1" / "wavs"):
        shutil.copy(speech / "june" / "june_001.flac", folder)
    origin = VCTK(tmp_path).scan().origin
    assert [licence.name for licence in origin.licences] == ["ODC-By-1.0"] and origin.hub is None
    assert [licence.name for licence in LJSpeech(tmp_path).scan().origin.licences] == ["public domain"]


def test_licences_of_a_folder(speech, tmp_path):
    assert Folder(speech).scan().origin == Origin()
    folder = Folder(speech, licence="CC0-1.0", attribution="Ann")
    assert folder.scan().origin.licences == (Licence("CC0-1.0", "Ann"),)
    corpus = prepare(folder, 8000, tmp_path / "cache", progress=False)
    assert all(part.origin == folder.scan().origin for part in (corpus, *split(corpus, 0.2)))
    mixed = tmp_path / "mixed"
    shutil.copytree(speech, mixed)
    files = ["june/june_001.flac", "june/june_002.flac", "carlo/carlo_001.flac", "allison/allison_001.flac"]
    rows = ["CC-BY-4.0,June", "CC-BY-4.0,June", ",Carlo", ","]
    table = "\n".join(f"{file},{row}" for file, row in zip(files, rows, strict=True))
    for column in ("licence", "license"):
        (mixed / "index.csv").write_text(f"file,{column},attribution\n{table}\n")
        known = Licence("CC-BY-4.0", "June")
        assert Folder(mixed).scan().origin.licences == (known, Licence("unknown", "Carlo"), Licence("unknown"))
        with_setting = Folder(mixed, licence="CC0-1.0").scan().origin.licences
        assert with_setting == (known, Licence("CC0-1.0", "Carlo"), Licence("CC0-1.0"))


def test_a_name_in_two_lines_can_be_saved_with_a_model(speech, tmp_path):
    shutil.copy(speech / "june" / "june_001.flac", tmp_path / "x.flac")
    (tmp_path / "index.csv").write_text('file,speaker,licence\nx.flac,"an\nn","CC0\x1b-1.0"\n')
    scan = Folder(tmp_path).scan()
    assert scan.utterances[0].conditions == {"speaker": "an\\nn", "licence": "CC0\\x1b-1.0"}
    assert scan.origin.licences == (Licence("CC0\\x1b-1.0"),)
