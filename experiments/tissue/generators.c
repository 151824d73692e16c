/* MCML's three-layer sample with two random number generators, one photon at a time.

   cc -O2 generators.c -lm -o generators && ./generators 10 1000000

   runs 10 seeds of 10^6 photons with each generator and prints the means over the seeds, with their
   standard errors. "ran3" is Knuth's subtractive generator in single precision, as Numerical Recipes
   in C (Press et al., 1988) has it and MCML 1.2.2 uses it; "xoshiro" is xoshiro256** in double
   precision (Blackman, Vigna, 2018, https://prng.di.unimi.it). The rules are those of MCML - Monte
   Carlo modeling of light transport in multi-layered tissues (Wang, Jacques, Zheng, 1995),
   https://doi.org/10.1016/0169-2607(95)01640-F, lengths are in cm. */

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

enum { LAYERS = 3, QUANTITIES = 2 + LAYERS };

typedef struct {
  double absorption, scattering, anisotropy, top, bottom;
} Layer;

static const Layer layers[LAYERS] = {
    {1.0, 100.0, 0.9, 0.0, 0.1}, {1.0, 10.0, 0.0, 0.1, 0.2}, {2.0, 10.0, 0.7, 0.2, 0.4}};
static const double index_inside = 1.37;
static const double pi = 3.14159265358979323846;

/* Random numbers in [0, 1). */

static uint64_t state[4];

static void seed_xoshiro(uint64_t seed) {
  for (int i = 0; i < 4; i++) { /* splitmix64 */
    uint64_t word = seed += 0x9e3779b97f4a7c15;
    word = (word ^ (word >> 30)) * 0xbf58476d1ce4e5b9;
    word = (word ^ (word >> 27)) * 0x94d049bb133111eb;
    state[i] = word ^ (word >> 31);
  }
}

static uint64_t rotate(uint64_t word, int bits) { return (word << bits) | (word >> (64 - bits)); }

static double xoshiro(void) {
  uint64_t result = rotate(state[1] * 5, 7) * 9, shifted = state[1] << 17;
  state[2] ^= state[0];
  state[3] ^= state[1];
  state[1] ^= state[2];
  state[0] ^= state[3];
  state[2] ^= shifted;
  state[3] = rotate(state[3], 45);
  return (double)(result >> 11) * 0x1.0p-53;
}

enum { LAG = 55, BIG = 1000000000 };
static int32_t past[LAG + 1];
static int here, there;

static int32_t difference(int32_t a, int32_t b) { return a < b ? a - b + BIG : a - b; }

static void seed_ran3(uint64_t seed) {
  int32_t last = (int32_t)((161803398 - seed) % BIG), next = 1;
  past[LAG] = last;
  for (int i = 1; i < LAG; i++) {
    int place = 21 * i % LAG;
    past[place] = next;
    next = difference(last, next);
    last = past[place];
  }
  for (int turn = 0; turn < 4; turn++)
    for (int i = 1; i <= LAG; i++) past[i] = difference(past[i], past[1 + (i + 30) % LAG]);
  here = 0;
  there = 31;
}

static double ran3(void) {
  here = here % LAG + 1;
  there = there % LAG + 1;
  past[here] = difference(past[here], past[there]);
  return (float)(past[here] * 1e-9);
}

/* Light. */

static double reflected(double cosine) { /* at the tissue's surface, from inside */
  double sine_out = index_inside * sqrt(1 - cosine * cosine);
  if (sine_out >= 1) return 1;
  double cosine_out = sqrt(1 - sine_out * sine_out);
  double s = (index_inside * cosine - cosine_out) / (index_inside * cosine + cosine_out);
  double p = (index_inside * cosine_out - cosine) / (index_inside * cosine_out + cosine);
  return (s * s + p * p) / 2;
}

/* Adds to reflectance, transmittance, and absorption by layer. */
static void follow(double (*draw)(void), double weight, double *sums) {
  double depth = 0, cosine = 1, left = 0;
  int place = 0;
  for (;;) {
    const Layer *layer = &layers[place];
    double rate = layer->absorption + layer->scattering;
    if (left == 0) {
      double number;
      do number = draw();
      while (number <= 0);
      left = -log(number);
    }
    double step = left / rate;
    double edge = cosine > 0 ? layer->bottom : layer->top;
    double to_edge = cosine != 0 ? (edge - depth) / cosine : INFINITY;
    if (step > to_edge) {
      left = (step - to_edge) * rate;
      depth = edge;
      int next = place + (cosine > 0 ? 1 : -1);
      int outside = next < 0 || next == LAYERS;
      if (draw() > (outside ? reflected(fabs(cosine)) : 0)) {
        if (outside) {
          sums[next < 0 ? 0 : 1] += weight;
          return;
        }
        place = next;
      } else
        cosine = -cosine;
    } else {
      left = 0;
      depth += step * cosine;
      double absorbed = weight * layer->absorption / rate;
      weight -= absorbed;
      sums[2 + place] += absorbed;
      double g = layer->anisotropy, number = draw(), turn;
      if (g == 0)
        turn = 2 * number - 1;
      else {
        double share = (1 - g * g) / (1 - g + 2 * g * number);
        turn = fmax(-1, fmin(1, (1 + g * g - share * share) / (2 * g)));
      }
      double across = sqrt((1 - turn * turn) * fmax(0, 1 - cosine * cosine));
      cosine = fmax(-1, fmin(1, turn * cosine - across * cos(2 * pi * draw())));
    }
    if (weight < 1e-4) {
      if (draw() >= 0.1) return;
      weight /= 0.1;
    }
  }
}

int main(int count, char **words) {
  if (count != 3 || atoi(words[1]) < 2 || atol(words[2]) < 1) {
    fprintf(stderr, "usage: generators SEEDS PHOTONS, at least 2 seeds and 1 photon\n");
    return 2;
  }
  int seeds = atoi(words[1]);
  long photons = atol(words[2]);
  double specular = pow((index_inside - 1) / (index_inside + 1), 2);
  printf("%d seeds of %ld photons: mean (standard error)\n", seeds, photons);
  printf("%-9s%-20s%-20s%-20s%-20s%-20s\n", "", "reflectance", "transmittance", "absorption 1",
         "absorption 2", "absorption 3");
  for (int generator = 0; generator < 2; generator++) {
    double mean[QUANTITIES] = {0}, squares[QUANTITIES] = {0};
    for (int seed = 1; seed <= seeds; seed++) {
      double sums[QUANTITIES] = {0};
      generator ? seed_xoshiro(seed) : seed_ran3(seed);
      for (long photon = 0; photon < photons; photon++)
        follow(generator ? xoshiro : ran3, 1 - specular, sums);
      for (int i = 0; i < QUANTITIES; i++) {
        double value = sums[i] / photons, from_mean = value - mean[i];
        mean[i] += from_mean / seed;
        squares[i] += from_mean * (value - mean[i]);
      }
    }
    printf("%-9s", generator ? "xoshiro" : "ran3");
    for (int i = 0; i < QUANTITIES; i++)
      printf("%.5f (%.5f)   ", mean[i], sqrt(squares[i] / (seeds - 1) / seeds));
    printf("\n");
  }
}
