"""Numbers, tables, machine learning."""

import threading

from .listed import guarded, kept, kernel, library, refreshed, unprotected

SEED = "the library has a fixed seed"
NUMPY = "draws from numpy.random, which is guarded"


@library("numpy")
def numpy():
    import numpy as np
    from numpy.random import rand

    own, old, seeds = np.random.default_rng(), np.random.RandomState(), np.random.SeedSequence()
    others = [np.random.Generator(kind()) for kind in (np.random.MT19937, np.random.Philox, np.random.SFC64)]
    chosen = np.random.default_rng(5)
    how = "checked at each call, seeded anew after a restore"
    return {
        "numpy.random.rand(), bound earlier": guarded(rand, how),
        "Generator.random()": guarded(own.random, how),
        "Generator over MT19937, Philox, SFC64": guarded(lambda: [one.random() for one in others], how),
        "RandomState.randn()": guarded(old.randn, how),
        "random_raw()": guarded(own.bit_generator.random_raw, how),
        "SeedSequence.spawn()": guarded(lambda: seeds.spawn(1)[0].generate_state(2).tolist(), how),
        "default_rng() made then": guarded(lambda: np.random.default_rng().random(), "of secrets, which are guarded"),
        "default_rng(5)": kept(chosen.random, "the program chose the seed"),
    }


@library("scipy")
def scipy():
    from scipy import stats

    return {
        "stats.norm.rvs()": guarded(stats.norm.rvs, NUMPY),
        "stats.qmc.Sobol(2).random()": guarded(lambda: stats.qmc.Sobol(2).random(1).tolist(), NUMPY),
    }


@library("pandas")
def pandas():
    import pandas as pd

    frame = pd.DataFrame({"a": range(10000)})
    return {"DataFrame.sample(4)": guarded(lambda: frame.sample(4).a.tolist(), NUMPY)}


@library("numba")
def numba():
    import random

    import numba as nb
    import numpy as np

    by_numpy = nb.njit(lambda: np.random.random())
    by_random = nb.njit(lambda: random.random())
    by_generator = nb.njit(lambda one: one.random())
    how = "each thread's generator is seeded anew when a compiled function begins to draw"
    own = np.random.default_rng()
    return {
        "np.random.random() in compiled code": refreshed(by_numpy, how),
        "random.random() in compiled code": refreshed(by_random, how),
        "Generator in compiled code": guarded(lambda: by_generator(own), NUMPY),
    }


@library("polars", env={"POLARS_MAX_THREADS": "1"})
def polars():
    import polars as pl

    rows = pl.Series(range(100000))
    return {"Series.sample(3)": refreshed(lambda: rows.sample(3).to_list(), "seeded anew by the restore event")}


@library("pyarrow")
def pyarrow():
    import pyarrow.compute as pc

    return {"compute.random(2)": unprotected(lambda: pc.random(2).to_pylist(), "has a generator of its own")}


@library("scikit-learn", folder="sklearn")
def sklearn():
    from sklearn.model_selection import train_test_split

    return {"train_test_split()": guarded(lambda: train_test_split(range(1000))[0][:5], NUMPY)}


@library("dask", "numpy")
def dask():
    import dask.array as da

    own = da.random.default_rng()
    drawn = {
        "array.random.random()": lambda: da.random.random(3, chunks=3).compute(scheduler="sync").tolist(),
        "array.random.default_rng().random()": lambda: own.random(3, chunks=3).compute(scheduler="sync").tolist(),
    }
    return {what: guarded(draw, NUMPY) for what, draw in drawn.items()}


@library("optuna")
def optuna():
    import optuna as library

    library.logging.set_verbosity(library.logging.ERROR)
    sampler = library.samplers.RandomSampler()

    def draw():
        study = library.create_study(sampler=sampler)
        study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=1)
        return study.best_params

    return {"RandomSampler": guarded(draw, NUMPY)}


@library("lightgbm", "scikit-learn")
def lightgbm():
    import lightgbm as library
    import numpy as np

    rows = np.random.RandomState(0).rand(200, 4)

    def draw():
        made = library.LGBMRegressor(n_estimators=2, n_jobs=1, subsample=0.5, subsample_freq=1, verbose=-1)
        return float(made.fit(rows, rows[:, 0]).predict(rows).sum())

    return {"LGBMRegressor.fit() with subsamples": kept(draw, SEED)}


@library("xgboost", "scikit-learn")
def xgboost():
    import numpy as np
    import xgboost as library

    rows = np.random.RandomState(0).rand(200, 4)

    def draw():
        made = library.XGBRegressor(n_estimators=2, n_jobs=1, subsample=0.5)
        return float(made.fit(rows, rows[:, 0]).predict(rows).sum())

    return {"XGBRegressor.fit() with subsamples": kept(draw, SEED)}


@library("gensim")
def gensim():
    from gensim.models import Word2Vec

    def draw():
        return float(Word2Vec([["a", "b", "c"]] * 5, min_count=1, vector_size=4, workers=1).wv.vectors.sum())

    return {"Word2Vec()": kept(draw, SEED)}


@library("shapely")
def shapely():
    import shapely as library

    points = library.points([(x * 7 % 11, x * 5 % 13) for x in range(60)])
    drawn = {
        "union_all()": lambda: library.union_all(library.buffer(points, 1.5)).wkt,
        "delaunay_triangles()": lambda: library.delaunay_triangles(library.union_all(points)).wkt,
        "minimum_bounding_circle()": lambda: library.minimum_bounding_circle(library.union_all(points)).wkt,
    }
    return {what: kept(draw, "GEOS shuffles what it computes; the result is the same") for what, draw in drawn.items()}


@library("opencv-python-headless", folder="cv2")
def cv2():
    import cv2 as library
    import numpy as np

    how = "has a generator of its own in each thread, with a fixed seed"
    return {"randu()": kept(lambda: library.randu(np.zeros(4), 0, 1).tolist(), how, only_main=True)}


@library("pillow", folder="pil")
def pillow():
    from PIL import Image

    return {"Image.effect_noise()": kept(lambda: Image.effect_noise((8, 8), 50).tobytes(), "of rand(3), never seeded")}


@library("duckdb")
def duckdb():
    import duckdb as library

    asks = "its native code asks the kernel for each query"
    if library.__version__.startswith("1."):
        level, how = unprotected, "each connection has a generator of its own"
    else:
        level, how = kernel, asks
    asked = library.connect(config={"threads": 1})

    def ask(text):
        return lambda: str(asked.execute(text).fetchall())

    drawn = {
        "random()": ask("select random()"),
        "uuid()": ask("select uuid()"),
        "sample": ask("select * from range(100000) using sample 2"),
    }

    def anew():
        return str(library.connect(config={"threads": 1}).execute("select random()").fetchall())

    found = {what: level(draw, how) for what, draw in drawn.items()}
    return found | {"random() of a new connection": kernel(anew, "its native code asks the kernel")}


@library("tokenizers")
def tokenizers():
    from tokenizers import Tokenizer, models

    vocabulary, merges = {letter: number for number, letter in enumerate("abcdefghijklmnop")}, []
    for first, second in zip("aceg", "bdfh", strict=True):
        vocabulary[first + second] = len(vocabulary)
        merges.append((first, second))
    made = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, dropout=0.9))
    how = "Rust's ThreadRng, which cannot be seeded"
    return {"BPE's dropout": unprotected(lambda: made.encode("abcdefgh" * 20).ids, how)}


@library("sentencepiece")
def sentencepiece():
    import io

    import sentencepiece as library

    model, lines = io.BytesIO(), (f"hello world this is a test of the sampler number {one}" for one in range(300))
    library.SentencePieceTrainer.train(
        sentence_iterator=lines, model_writer=model, vocab_size=60, minloglevel=5, num_threads=1
    )
    made = library.SentencePieceProcessor(model_proto=model.getvalue())
    text = "hello world this is a test of the sampler " * 10

    def draw():
        return made.encode(text, enable_sampling=True, alpha=0.1, nbest_size=-1)

    return {"encode() with sampling": unprotected(draw, "has a generator of its own in each thread")}


@library("faiss-cpu", folder="faiss")
def faiss():
    import faiss as library
    import numpy as np

    rows = np.random.RandomState(0).rand(500, 8).astype("float32")

    def draw():
        made = library.Kmeans(8, 4, niter=2)
        made.train(rows)
        return float(made.centroids.sum())

    return {"Kmeans.train()": kept(draw, SEED)}


@library("igraph")
def igraph():
    import igraph as library

    def draw():
        return library.Graph.Erdos_Renyi(50, 0.3).get_edgelist()

    def elsewhere():
        drawn = []
        thread = threading.Thread(target=lambda: drawn.append(draw()))
        thread.start()
        thread.join()
        return drawn[0]

    return {
        "Graph.Erdos_Renyi() in the thread that imported it": guarded(draw, "draws from random", only_main=True),
        "Graph.Erdos_Renyi() in another thread": unprotected(elsewhere, "has a generator of its own in each thread"),
    }


@library("torch", "numpy", large=True)
def torch():
    import torch as library

    from snapsafe_rt.guards import table

    library.set_num_threads(1)
    own = library.Generator()
    own.seed()
    level = guarded if "torch" in table.TABLE else unprotected
    how = "checked before and after each operator" if level is guarded else "has generators of its own"
    drawn = {
        "rand(1)": lambda: library.rand(1).item(),
        "dropout": lambda: library.nn.functional.dropout(library.ones(100)).tolist(),
        "Generator seeded by the system": lambda: library.rand(1, generator=own).item(),
    }
    return {what: level(draw, how) for what, draw in drawn.items()}


@library("tensorflow-cpu", folder="tensorflow", env={"TF_CPP_MIN_LOG_LEVEL": "3"}, large=True)
def tensorflow():
    import tensorflow as library

    library.config.threading.set_intra_op_parallelism_threads(1)
    library.config.threading.set_inter_op_parallelism_threads(1)
    own = library.random.Generator.from_non_deterministic_state()
    how = "has generators of its own"
    return {
        "random.uniform()": unprotected(lambda: library.random.uniform([4]).numpy().tolist(), how),
        "random.shuffle()": unprotected(lambda: library.random.shuffle(range(1000)).numpy().tolist()[:5], how),
        "random.Generator": unprotected(lambda: own.uniform([4]).numpy().tolist(), how),
    }
