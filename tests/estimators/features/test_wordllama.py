"""WordLlama's static embeddings: its own numbers, without importing it."""

import json
import subprocess
import sys

import numpy as np
import pytest

from dami_merge.errors import InputRefused
from dami_merge.estimators.features import wordllama
from dami_merge.estimators.features.text import prompt_text
from dami_merge.estimators.features.wordllama import READ_CHARACTERS, WordLlamaFeatures
from tests.estimators.features import QUERIES, said


def test_the_vectors_are_those_of_the_package_itself() -> None:
    program = (
        "import sys, json, pathlib, tokenizers, safetensors.numpy, wordllama\n"
        "folder = pathlib.Path(wordllama.__file__).parent\n"
        "table = safetensors.numpy.load_file(folder / 'weights/l2_supercat_256.safetensors')\n"
        "tokenizer = tokenizers.Tokenizer.from_file(str(next(folder.glob('tokenizers/*.json'))))\n"
        "own = wordllama.WordLlamaInference(table['embedding.weight'], tokenizer)\n"
        "print(json.dumps(own.embed(json.loads(sys.argv[1]), norm=True).tolist()))"
    )
    texts = json.dumps([prompt_text(query) for query in QUERIES])
    done = subprocess.run([sys.executable, "-c", program, texts], capture_output=True, text=True, check=True)
    assert np.allclose(WordLlamaFeatures().inputs(QUERIES).vectors, json.loads(done.stdout), atol=1e-6)


def test_nothing_that_could_download_is_imported() -> None:
    program = (
        "import sys, socket\n"
        "socket.socket = None\n"
        "from dami_merge.estimators.features.opening import open_features\n"
        "open_features('wordllama').inputs([[{'role': 'user', 'content': 'hello'}]])\n"
        "print(sorted({'wordllama', 'requests', 'torch', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_an_empty_prompt_is_zero_and_a_long_one_is_read_at_both_ends() -> None:
    half = READ_CHARACTERS // 2
    long = ["why? " * 2000 + "z" * 50_000 + "because! " * 1200, "why? " * 2000 + "because! " * 1200]
    ends = "".join([long[0][:half], long[0][-half:]])
    vectors = WordLlamaFeatures().inputs([said(""), said(long[0]), said(ends)]).vectors
    assert not vectors[0].any()
    assert np.array_equal(vectors[1], vectors[2])
    assert np.allclose(np.linalg.norm(vectors[1:], axis=1), 1)


def test_a_release_without_the_expected_files_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wordllama, "_WEIGHTS", "weights/l3_supercat_512.safetensors")
    with pytest.raises(InputRefused, match=r"lacks weights/l3_supercat_512.safetensors \(install wordllama"):
        WordLlamaFeatures()


def test_a_missing_package_is_named_with_what_installs_it() -> None:
    program = (
        "import sys; sys.modules['wordllama'] = None\n"
        "from dami_merge.estimators.features.opening import open_features\n"
        "from dami_merge.errors import DamiMergeError\n"
        "try: open_features('wordllama')\n"
        "except DamiMergeError as error: print(error, error.hint)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("the features wordllama needs wordllama, which is not installed")
